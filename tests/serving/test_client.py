"""`ServingClient` over real sockets: the local server, a PredictionService, replays."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from conftest import make_clicks

pytest.importorskip("tensorflow")
pytest.importorskip("urllib3")
pytest.importorskip("tensorflow_serving")

import grpc
from serving.prediction_service import prediction_service

from keras_multvae import ServingClient
from keras_multvae.serving.client import (
    InvalidRequestError,
    ModelNotFoundError,
    ServingError,
    ServingTimeoutError,
    ServingUnavailableError,
    retrying,
)
from keras_multvae.serving.client.client import ROWS

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Pauses between tries, which are only noted."""
    seconds = []
    monkeypatch.setattr(retrying.time, "sleep", seconds.append)
    return seconds


@pytest.fixture(scope="module")
def rest(served, running, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rest") / "films"
    folder.mkdir()
    (folder / "1").symlink_to(served.folder / "1")
    with running(folder) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def rpc(served):
    with prediction_service(served.folder / "1", "films") as (service, address):
        yield service, address


@pytest.fixture(params=["rest", "rpc", "v2"])
def client_of(request, rest, rpc):
    """(model, ...) -> a client, in each protocol."""
    if request.param == "rpc":
        return partial(ServingClient, rpc[1])
    protocol = {"rest": "tensorflow", "v2": "v2"}[request.param]
    return partial(ServingClient, rest, protocol=protocol)


HISTORIES = [["f1", "f2", "f3"], [], ["f9", "f9", "nobody's"], ["f7"]]


def test_recommendations_are_those_of_the_recommender(served, client_of):
    with client_of("films") as client:
        for options in (
            {"k": 5},
            {"k": 99},
            {"k": 8, "deny": served.ids[:10]},
            {"k": 8, "allow": served.ids[5:9], "deny": ["f6"]},
        ):
            found = client.recommend(HISTORIES, **options)
            wanted = served.recommender.recommend(
                HISTORIES, on_unknown="skip", **options
            )
            assert found.users == wanted.users
            for (items, scores), (items_, scores_) in zip(found, wanted, strict=True):
                assert items.tolist() == items_.tolist()
                np.testing.assert_allclose(scores, scores_, atol=1e-5)
            ours, theirs = found.to_arrays(), wanted.to_arrays()
            for a, b in zip(ours, theirs, strict=True):
                assert a.shape == b.shape
                assert a.dtype.kind == b.dtype.kind
            assert (ours[1] == theirs[1]).all()
        single = client.recommend(HISTORIES[0], k=3)
        assert len(single) == 1
        assert len(single.items[0]) == 3
        many = client.recommend([["f1"]] * (ROWS + 2), k=2)
        assert many.users[-1] == ROWS + 1
        assert {tuple(items) for items in many.items} == {tuple(many.items[0])}


def test_histories_may_be_any_iterables(served, rest):
    pandas = pytest.importorskip("pandas")
    with ServingClient(rest, "films") as client:
        expected = client.recommend(["f1", "f2"], k=4)
        for given in (
            iter(["f1", "f2"]),
            {"f1", "f2"},
            frozenset(["f1", "f2"]),
            np.array(["f1", "f2"]),
            pandas.Series(["f1", "f2"]),
            {"f1": None, "f2": None}.keys(),
        ):
            found = client.recommend(given, k=4, deny=iter([]))
            assert found.items[0].tolist() == expected.items[0].tolist()
        several = client.recommend(
            {"ann": frozenset(["f1", "f2"]), "bob": iter(["f3"])}, k=4
        )
        assert several.users == ["ann", "bob"]
        assert several.items[0].tolist() == expected.items[0].tolist()
        scores = client.score(iter([("f1",), {"f2"}]), iter(["f8", "f9"]))
        assert scores.shape == (2, 2)
        with pytest.raises(ValueError, match="the server knows no columns"):
            client.recommend(make_clicks(3, 30))


def test_the_other_methods_are_those_of_the_recommender(served, client_of):
    with client_of("films", version=1) as client:
        found = client.similar_items(["f4", "nobody's", "f5"], k=4)
        assert found.users == ["f4", "nobody's", "f5"]
        wanted = served.recommender.similar_items(["f4", "f5"], k=4)
        for row, row_ in ((0, 0), (2, 1)):
            assert found.items[row].tolist() == wanted.items[row_].tolist()
            np.testing.assert_allclose(
                found.scores[row], wanted.scores[row_], atol=1e-5
            )
        assert len(found.items[1]) == 0
        known = [row[:1] if "nobody's" in row else row for row in HISTORIES]
        for ours, theirs in zip(
            client.embed(HISTORIES), served.recommender.embed(known), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        matrix = np.zeros((1, 30), "float32")
        matrix[0, [1, 2]] = 1
        from scipy import sparse

        scores = served.recommender.model.score(sparse.csr_matrix(matrix))[0]
        ours = client.score(["f1", "f2"], ["f8", "nobody's", "f1"])
        np.testing.assert_allclose(ours, [[scores[8], -np.inf, scores[1]]], atol=1e-5)
        two = client.score([["f1", "f2"], []], [["f8"], ["f1", "f3"]])
        assert two.shape == (2, 2)
        assert two[0, 1] == -np.inf
        assert np.isfinite(two[1]).all()


def test_refusals_have_their_types(client_of):
    for model, version, wanted in (
        ("none", None, r"Latest\(none\)"),
        ("films", 7, r"Specific\(films, 7\)"),
    ):
        with (
            client_of(model, version) as client,
            pytest.raises(ModelNotFoundError, match=wanted),
        ):
            client.recommend(["f1"])
    with client_of("films") as client:
        for call, error, text in (
            (lambda: client.recommend(["f1"], k=0), ValueError, "k=0"),
            (lambda: client.recommend(["f1"], allow=[]), ValueError, "allow"),
            (lambda: client.recommend([5]), TypeError, "ids are str. Received: 5"),
            (lambda: client.recommend([{"f1": 2}]), ValueError, "counts each item"),
            (lambda: client.recommend([]).items, None, ""),
            (lambda: client.similar_items([]), ValueError, "nothing to ask"),
            (lambda: client.score(["f1"], [["f1"], ["f2"]]), ValueError, "2 lists"),
        ):
            if error is None:
                call()
                continue
            with pytest.raises(error, match=text):
                call()
        # What the client cannot know, the graph finds.
        bad = {"item_ids": client._ids([["f1"]]), "k": np.array([1], "int32"),
               "niche": np.array([2.0], "float32")}  # fmt: skip
        with pytest.raises(InvalidRequestError, match="niche"):
            client._predict("discover", bad)
        with pytest.raises(InvalidRequestError, match="no signature 'none'"):
            client._predict("none", bad)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("ftp://x", "films"), "http://host:8501"),
        (("http://x", "a/b"), "model's name"),
        (("http://x", "films", 0), "version=0"),
        (("http://x", "films", None, 0), "timeout=0"),
        (("http://x", "films", None, 1, -1), "retries=-1"),
        (("http://x", "films", None, 1, 1, "v3"), "must be tensorflow or v2"),
        (("x:8500", "films", None, 1, 1, "v2"), "is spoken over HTTP"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        ServingClient(*arguments)


def test_grpc_tries_again_what_is_transient_only(rpc, pauses):
    service, address = rpc
    code = grpc.StatusCode
    with ServingClient("grpc://" + address, "films", retries=2) as client:
        expected = client.recommend(["f1"], k=3).items[0].tolist()
        service.failures[:] = [code.UNAVAILABLE, code.UNAVAILABLE]
        assert client.recommend(["f1"], k=3).items[0].tolist() == expected
        assert len(pauses) == 2
        for failures, error, tries in (
            ([code.UNAVAILABLE] * 3, ServingUnavailableError, 3),
            ([code.INVALID_ARGUMENT], InvalidRequestError, 1),
            ([code.DEADLINE_EXCEEDED], ServingTimeoutError, 1),
            ([code.RESOURCE_EXHAUSTED], ServingError, 1),
        ):
            before, service.failures[:] = service.requests, failures
            with pytest.raises(error, match=f"{failures[0].name}: as told"):
                client.recommend(["f1"], k=3)
            assert service.requests - before == tries


HEAD = {"name": "item_ids", "datatype": "BYTES", "shape": [1, 2]}


@pytest.mark.parametrize(
    ("length", "answer"),
    [
        (None, b"{"),
        (None, b"[]"),
        (None, json.dumps({"outputs": [HEAD]}).encode()),
        (None, json.dumps({"outputs": [{**HEAD, "data": ["f1"]}]}).encode()),
        (None, json.dumps({"outputs": [{**HEAD, "datatype": "X"}]}).encode()),
        ("many", b"{}"),
        ("2", b"{}rest"),
    ],
)
def test_malformed_answers_of_v2_are_named(rest, monkeypatch, length, answer):
    header = {} if length is None else {"Inference-Header-Content-Length": length}
    with ServingClient(rest, "films", protocol="v2") as client:
        assert "recommend" in client._signatures
        monkeypatch.setattr(
            client._transport, "_send", lambda *arguments: (header, answer)
        )
        with pytest.raises(ServingError, match="not that of a model"):
            client.recommend(["f1"])


def test_a_server_of_v2_with_one_signature(rest):
    """As Triton's: the client says which signature is missing."""
    with ServingClient(rest, "films", protocol="v2") as client:
        ask = client._transport._ask

        def without_parameters(*arguments):
            found = ask(*arguments)
            del found["parameters"]
            return found

        client._transport._ask = without_parameters
        with pytest.raises(InvalidRequestError, match="only serving_default"):
            client.recommend(["f1"])


SIGNATURES = {
    "recommend": {
        "inputs": {name: {"dtype": "DT_INT64"} for name in ("item_ids", "deny")},
        "outputs": {"item_ids": {"dtype": "DT_INT64"},
                    "scores": {"dtype": "DT_FLOAT"}, "valid": {"dtype": "DT_INT32"}},
    },
    "embed": {
        "inputs": {"item_ids": {"dtype": "DT_INT64"}},
        "outputs": {"mean": {"dtype": "DT_FLOAT"}},
    },
}  # fmt: skip
METADATA = {
    "model_spec": {"name": "half", "signature_name": "", "version": "1"},
    "metadata": {"signature_def": {"signature_def": SIGNATURES}},
}
# As RapidJSON's PrettyWriter lays it out, with numbers as TensorFlow Serving writes
# them (json_tensor_test.cc), and as many digits.
ANSWER = b"""{
    "outputs": {
        "item_ids": [[3, 5], [7, -1]],
        "scores": [[-0.0003, -3e-05], [-9e+06, -3.40282347e+38]],
        "valid": [
            2,
            1
        ]
    }
}"""


class Replay:
    """A server that plays its part: (status, body) a request, None hangs up."""

    def __init__(self, *answers):
        self.answers, self.bodies = list(answers), []
        replay, self.wait = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.answer(200, json.dumps(METADATA).encode())

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                replay.bodies.append(json.loads(self.rfile.read(length)))
                answer = replay.answers.pop(0)
                if answer is None:
                    self.close_connection = True
                elif answer == "wait":
                    replay.wait.wait(10)
                    self.close_connection = True
                else:
                    self.answer(*answer)

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=[0.01]).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait.set()
        self.server.shutdown()
        self.server.server_close()


def test_answers_as_tensorflow_serving_writes_them():
    with Replay((200, ANSWER)) as replay, ServingClient(replay.address, "half") as half:
        found = half.recommend([[1, 2], [4]], k=2, deny=[9])
        assert replay.bodies == [
            {
                "signature_name": "recommend",
                "inputs": {
                    "item_ids": [[-1, 1, 2], [-1, 4, -1]],
                    "k": [2, 2],
                    "deny": [[-1, 9], [-1, 9]],
                    "allow": [[-1], [-1]],
                },
            }
        ]
        _, items, scores, valid = found.to_arrays()
        assert items.tolist() == [[3, 5], [7, -1]]
        assert valid.tolist() == [2, 1]
        expected = np.array([[-0.0003, -3e-05], [-9e6, -np.inf]], "float32")
        assert (scores == expected).all()
    # The name of a single output is left out (api_rest, Response format).
    with (
        Replay((200, b'{\n    "outputs": [[0.5, 1.0]\n    ]\n}')) as replay,
        ServingClient(replay.address, "half") as half,
    ):
        mean, variance = half.embed([1])
        assert mean.tolist() == [[0.5, 1.0]]
        assert variance.tolist() == [[0.0, 0.0]]


NOT_FOUND = b'{ "error": "Servable not found for request: Latest(half)" }'
REFUSED = (
    b'{ "error": "JSON Value: \\"x\\" Type: String is not of expected type: float" }'
)


@pytest.mark.parametrize(
    ("answers", "error", "text", "tries"),
    [
        # The example at the end of https://www.tensorflow.org/tfx/serving/api_rest.
        ([(404, NOT_FOUND)], ModelNotFoundError, "found for request: Latest.half.", 1),
        ([(400, REFUSED)], InvalidRequestError, '"x" Type: String', 1),
        ([(413, b"")], InvalidRequestError, "status 413: no reason given", 1),
        ([(429, b"x")] * 3, ServingUnavailableError, "status 429: x", 3),
        ([(500, b"<html>")], ServingError, "status 500: <html>", 1),
        ([(200, b"no JSON")], ServingError, "no JSON", 1),
        ([(503, b"")] * 3, ServingUnavailableError, "status 503", 3),
        ([(502, b""), (504, b""), None], ServingUnavailableError, "reached", 3),
        (["wait"], ServingTimeoutError, "within 0.3 seconds", 1),
        ([(503, b""), (404, b"{}")], ModelNotFoundError, "404", 2),
        ([(503, b""), None, (200, ANSWER)], None, "", 3),
    ],
)
def test_rest_tries_again_what_is_transient_only(answers, error, text, tries, pauses):
    with (
        Replay(*answers) as replay,
        ServingClient(replay.address, "half", timeout=0.3, retries=2) as client,
    ):
        if error is None:
            client.recommend([[1], [2]])
        else:
            with pytest.raises(error, match=text) as caught:
                client.recommend([[1], [2]])
            assert type(caught.value) is error
        assert len(replay.bodies) == tries
    assert len(pauses) == tries - 1
    for number, seconds in enumerate(pauses):
        assert 0.05 * 2**number <= seconds <= 0.1 * 2**number


@pytest.mark.parametrize("scheme", ["http://", "grpc://"])
def test_nobody_there(scheme, pauses):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
        with (
            ServingClient(address, "films", timeout=5, retries=4) as client,
            pytest.raises(ServingUnavailableError),
        ):
            client.recommend(["f1"])
    assert len(pauses) == 4


def test_rest_needs_no_tensorflow(served, rest):
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from keras_multvae import ServingClient\n"
        f"with ServingClient({rest!r}, 'films') as client:\n"
        "    print(*client.recommend(['f1'], k=3).items[0])\n"
        "try:\n"
        "    ServingClient('localhost:8500', 'films')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    items, error = result.stdout.splitlines()
    assert items.split() == served.recommender.recommend(["f1"], k=3).items[0].tolist()
    assert 'pip install "keras_multvae[serving]"' in error
