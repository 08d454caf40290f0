"""`ServingClient` against servers that answer in bad ways, or not at all."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("urllib3")
pytest.importorskip("tensorflow_serving")

from serving.prediction_service import prediction_service

from benchmarks.reliability.hostile import ANSWER, KINDS, METADATA, hostile
from keras_multvae import ServingClient
from keras_multvae.serving.client import (
    ServingError,
    ServingTimeoutError,
    ServingUnavailableError,
    answers,
    bounded,
    retrying,
)
from keras_multvae.serving.client.addresses import parse_address
from keras_multvae.serving.client.http import _retry_after

pytestmark = pytest.mark.once
SECRETS = ("s3cret", "YW5uOnMzY3JldA==")  # ann:s3cret


@pytest.mark.parametrize("kind", KINDS)
def test_each_try_ends_with_a_typed_error(kind):
    """In time, too: what never ends would hang here."""
    rounds = 10 if "changed" in kind or "any" in kind else 1
    for number in range(rounds):
        with (
            hostile(kind, np.random.default_rng(number)) as port,
            ServingClient(
                f"http://ann:s3cret@127.0.0.1:{port}", "films", timeout=0.5, retries=0
            ) as client,
        ):
            start = time.monotonic()
            try:
                client.recommend([[3]], k=2)
            except ServingError as error:
                assert not any(secret in str(error) for secret in SECRETS)
                assert "\n" not in str(error)
            assert time.monotonic() - start < 20


@pytest.mark.parametrize("kind", ["silence", "noise", "hangs up", "a body without end"])
def test_grpc_ends_in_time(kind):
    with (
        hostile(kind, np.random.default_rng(0), always=True) as port,
        ServingClient(f"127.0.0.1:{port}", "films", timeout=0.5, retries=0) as client,
        pytest.raises(ServingError),
    ):
        client.recommend([[3]], k=2)


def test_what_drips_is_a_time_out():
    for kind in ("drips its body", "100 Continue for ever", "drips its header"):
        with (
            hostile(kind, np.random.default_rng(0)) as port,
            ServingClient(
                f"http://127.0.0.1:{port}", "films", timeout=0.3, retries=3
            ) as client,
            pytest.raises(ServingTimeoutError, match=r"within 0\.3 seconds"),
        ):
            client.recommend([[3]], k=2)


def test_grpc_answers_are_checked(served):
    import tensorflow as tf

    with (
        prediction_service(served.folder / "1", "films") as (service, address),
        ServingClient(address, "films", retries=0) as client,
    ):
        client.recommend(["f1"], k=2)
        right = service.Predict

        def bad(change):
            def predict(request, context):
                response = right(request, context)
                change(response.outputs)
                return response

            return predict

        def put(name, value):
            return lambda outputs: outputs[name].CopyFrom(tf.make_tensor_proto(value))

        changes = [
            lambda outputs: outputs.pop("scores"),
            lambda outputs: outputs["valid"].Clear(),
            put("valid", [-1]),
            put("valid", [99]),
            put("valid", 2),
            put("valid", ["x"]),
            put("scores", [[0.5]]),
            put("scores", [0.5]),
            put("item_ids", [[b"\xff", b""]]),
        ]
        stub = client._transport._stub
        for change in changes:
            handler = bad(change)
            client._transport._stub = type("Stub", (), {
                "Predict": staticmethod(
                    lambda request, timeout, h=handler: h(request, None))})  # fmt: skip
            with pytest.raises(ServingError):
                client.recommend(["f1"], k=2)
        client._transport._stub = stub
        client.recommend(["f1"], k=2)


def test_an_answer_has_a_largest_size(monkeypatch):
    monkeypatch.setattr(bounded, "MAX_BYTES", 10_000)
    with (
        hostile("a body without end", np.random.default_rng(0)) as port,
        ServingClient(f"http://127.0.0.1:{port}", "films", retries=0) as client,
        pytest.raises(ServingError, match="more than 10000 bytes"),
    ):
        client.recommend([[3]], k=2)


def test_retry_after_is_waited_for(monkeypatch):
    pauses = []
    monkeypatch.setattr(retrying.time, "sleep", pauses.append)
    asked = iter([3.0, 1000.0])

    def attempt():
        raise ServingUnavailableError("busy", next(asked))

    with pytest.raises(ServingUnavailableError):
        retrying.with_retries(attempt, 5)
    assert pauses == [3.0]
    for text, seconds in (
        ("7", 7), ("-5", 0), ("soon", None), ("", None), ("nan", None), ("1e999", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0), ("Fri, 99 Foo 2x", None),
    ):  # fmt: skip
        assert _retry_after({"Retry-After": text}) == seconds
    assert _retry_after({"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}) > 1e9


@pytest.mark.parametrize(
    "address",
    ["ftp://ann:s3cret@x", "http://ann:s3cret@", "ann:s3cret@x:8500",
     "http://ann:s3cret@x:8501?key=s3cret", "http://ann:s3cret@x:99999999",
     "http://x/?key=s3cret"],
)  # fmt: skip
def test_no_secret_is_shown(address):
    with pytest.raises(ValueError, match="http://host:8501") as caught:
        ServingClient(address, "films")
    assert "s3cret" not in str(caught.value)


def test_user_and_password_are_sent():
    found = parse_address("http://ann:s3cret@localhost:8501")
    assert found.headers == {"Authorization": f"Basic {SECRETS[1]}"}
    assert "s3cret" not in repr(found)


def test_good_answers_of_this_attack_are_taken():
    """Or the tries above would show nothing."""
    outputs = json.loads(json.dumps(ANSWER))["outputs"]
    found = {name: np.array(values) for name, values in outputs.items()}
    answers.check_answer("recommend", found, 1, 2)
    assert "recommend" in METADATA["metadata"]["signature_def"]["signature_def"]
