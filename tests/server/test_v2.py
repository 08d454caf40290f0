"""The Open Inference Protocol, version 2, by raw HTTP."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server.asking import check, error, eventually

from keras_multvae.server.infer import Infer, Sides, infer_body, parse_infer
from keras_multvae.server.limits import Limits
from keras_multvae.server.parsing import Input, Request
from keras_multvae.server.status import StatusError
from keras_multvae.serving.tensor_data import pack, unpack

pytestmark = pytest.mark.once

INFER = "/v2/models/films/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def server(served, running, tmp_path_factory):
    folder = tmp_path_factory.mktemp("v2") / "films"
    shutil.copytree(served.folder / "1", folder / "1")
    with running(folder, max_body=100_000) as client:
        yield client


def bytes_input(rows, name="item_ids", **others):
    values = [value for row in rows for value in row]
    shape = [len(rows), len(rows[0])]
    return {
        "name": name, "datatype": "BYTES", "shape": shape, "data": values, **others
    }  # fmt: skip


def strings(*values):
    return pack(np.array([value.encode() for value in values], object), "O")


def arrays(response):
    """The outputs of an answer, JSON or binary."""
    assert response.status_code == 200, response.text
    length = response.headers.get(LENGTH)
    content, rest = response.content, b""
    if length is not None:
        assert response.headers["content-type"] == "application/octet-stream"
        content, rest = content[: int(length)], content[int(length) :]
    document = json.loads(content)
    found = {}
    for each in document["outputs"]:
        size = each.get("parameters", {}).get("binary_data_size")
        count = int(np.prod(each["shape"]))
        kind = {"FP32": "<f4", "INT32": "<i4", "BYTES": object, "BOOL": "?"}
        if size is None:
            array = np.array(each["data"], kind[each["datatype"]])
        else:
            data, rest = rest[:size], rest[size:]
            if each["datatype"] == "BYTES":
                values = unpack(data, "O", count)
                array = np.array([value.decode() for value in values], object)
            else:
                array = np.frombuffer(data, kind[each["datatype"]])
        found[each["name"]] = array.reshape(each["shape"])
    assert rest == b""
    return document, found


def row(found, number):
    return {name: array[number].tolist() for name, array in found.items()}


def test_health_and_metadata(server):
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get("/v2/health/ready").json() == {"ready": True}
    about = server.get("/v2").json()
    assert about["name"] == "keras_multvae"
    assert about["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/models/films", "/v2/models/films/versions/1"):
        assert server.get(f"{path}/ready").json() == {"name": "films", "ready": True}
        found = server.get(path).json()
        assert (found["name"], found["versions"]) == ("films", ["1"])
        assert found["platform"] == "tensorflow_savedmodel"
        assert found["inputs"] == [
            {"name": "item_ids", "datatype": "BYTES", "shape": [-1, -1]}
        ]
        assert {each["name"]: each["datatype"] for each in found["outputs"]} == {
            "item_ids": "BYTES",
            "scores": "FP32",
            "valid": "INT32",
        }
        signatures = found["parameters"]["signatures"]
        kinds = {each["name"]: each for each in signatures["recommend"]["inputs"]}
        assert kinds["k"] == {"name": "k", "datatype": "INT32", "shape": [-1]}
    for path in ("/v2/models/films/versions/7", "/v2/models/books"):
        assert server.get(f"{path}/ready").status_code == 400
        assert "not found" in error(server.get(path), 404)


def test_answers_in_json(served, server):
    rows = [["f1", "f2"], ["f3", ""]]
    for path in (INFER, "/v2/models/films/versions/1/infer"):
        request = {"id": "17", "inputs": [bytes_input(rows)]}
        document, found = arrays(server.post(path, json=request))
        assert document["id"] == "17"
        assert (document["model_name"], document["model_version"]) == ("films", "1")
        check(served.recommender, ["f1", "f2"], row(found, 0))
        check(served.recommender, ["f3"], row(found, 1))
    # Nested data, and some of the outputs, in the order that was asked for.
    request["inputs"] = [bytes_input(rows, data=rows)]
    request["outputs"] = [{"name": "valid"}, {"name": "scores"}]
    document, some = arrays(server.post(INFER, json=request))
    assert [each["name"] for each in document["outputs"]] == ["valid", "scores"]
    np.testing.assert_array_equal(some["scores"], found["scores"])


def test_binary_in_and_out(served, server):
    """Histories as binary data, k as JSON; and the answer as it was asked for."""
    rows = [["f1", "f2"], ["f3", ""]]
    packed = strings(*(item for each in rows for item in each))
    none = strings("", "")

    def binary(name, data, shape):
        size = {"binary_data_size": len(data)}
        return {"name": name, "datatype": "BYTES", "shape": shape, "parameters": size}

    head = {
        "parameters": {"signature_name": "recommend", "binary_data_output": True},
        "inputs": [
            binary("deny", none, [2, 1]),
            {"name": "k", "datatype": "INT32", "shape": [2], "data": [5, 3]},
            binary("item_ids", packed, [2, 2]),
            binary("allow", none, [2, 1]),
        ],
    }

    def ask(data=none + packed + none, **headers):
        content = json.dumps(head).encode()
        headers = {LENGTH: str(len(content)), **headers}
        body = content + data
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.compress(body)
        return server.post(INFER, content=body, headers=headers)

    for headers in ({}, {"Content-Encoding": "gzip"}):
        document, found = arrays(ask(**headers))
        assert all("parameters" in each for each in document["outputs"])
        assert found["scores"].shape == (2, 5)
        for number, (history, k) in enumerate(((["f1", "f2"], 5), (["f3"], 3))):
            items, scores = served.recommender.recommend(history, k=k)[0]
            assert found["valid"][number] == k
            assert found["item_ids"][number, :k].tolist() == items.tolist()
            np.testing.assert_allclose(found["scores"][number, :k], scores, atol=1e-5)
    head["outputs"] = [
        {"name": "scores"},
        {"name": "valid", "parameters": {"binary_data": False}},
    ]
    document, some = arrays(ask())
    np.testing.assert_array_equal(some["scores"], found["scores"])
    assert document["outputs"][1]["data"] == [5, 3]
    # Sizes that do not fit.
    assert "bytes are left" in error(ask(none + packed), 400)
    assert "belong to no input" in error(ask(none + packed + none + b"x"), 400)
    assert "has 4" not in error(ask(**{LENGTH: "99999"}), 400)
    assert "must be a number of bytes" in error(ask(**{LENGTH: "-1"}), 400)
    damaged = none + packed[:-2] + b"\xff\xff" + none
    assert "do not fit its shape [2,2]" in error(ask(damaged), 400)


def test_other_signatures_and_dtypes(served, server):
    request = {
        "parameters": {"signature_name": "score"},
        "inputs": [
            bytes_input([["f1", "f2"]]),
            bytes_input([["f4", "nobody's"]], "candidates"),
        ],
        "outputs": [{"name": "known", "parameters": {"binary_data": True}}],
    }
    _, found = arrays(server.post(INFER, json=request))
    assert found["known"].tolist() == [[True, False]]
    kinds = {"int64": [-1, 2**62], "bool": [True, False], "float64": [0.1, np.nan]}
    for name, values in kinds.items():
        outputs = {"x": np.array([values], name)}
        infer = Infer(Request("s", {}, False), {"x": True}, None)
        content, length = infer_body(infer, outputs, "m", 1)
        again = np.frombuffer(content[length:], np.dtype(name).newbyteorder("<"))
        np.testing.assert_array_equal(again, outputs["x"][0])


GOOD = bytes_input([["f1"]])


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ([], "must be a JSON object"),
        ({}, "inputs must be a list"),
        ({"inputs": [3]}, "an object with a name"),
        ({"inputs": []}, "has the inputs item_ids"),
        ({"inputs": [GOOD, {**GOOD, "name": "x"}]}, "has the inputs item_ids"),
        ({"inputs": [GOOD, GOOD]}, "twice"),
        ({"inputs": [{**GOOD, "datatype": "INT64"}]}, "has the datatype BYTES"),
        ({"inputs": [{**GOOD, "shape": "x"}]}, "must be a list of numbers"),
        ({"inputs": [{**GOOD, "shape": [1, -1]}]}, "must be a list of numbers"),
        ({"inputs": [{**GOOD, "shape": [1, True]}]}, "must be a list of numbers"),
        ({"inputs": [{**GOOD, "shape": [1]}]}, "the signature asks for [-1,-1]"),
        ({"inputs": [{**GOOD, "shape": [1, 2]}]}, "has 1 values, but its shape"),
        ({"inputs": [{**GOOD, "data": "f1"}]}, "must have its data as a list"),
        ({"inputs": [{**GOOD, "data": [1]}]}, "not of expected type: string"),
        ({"inputs": [{**GOOD, "data": [[["f1"]], "f2"]}]}, "incorrect level"),
        (
            {"inputs": [{**GOOD, "parameters": {"shared_memory_region": "a"}}]},
            "no shared memory",
        ),
        ({"inputs": [{**GOOD, "parameters": 3}]}, "parameters must be an object"),
        ({"inputs": [GOOD], "outputs": [{"name": "x"}]}, 'no output "x", only'),
        (
            {
                "inputs": [GOOD],
                "outputs": [{"name": "valid", "parameters": {"classification": 3}}],
            },
            "Classification is not served",
        ),
        ({"inputs": [GOOD], "id": 3}, "id must be a string"),
        (
            {"inputs": [GOOD], "parameters": {"signature_name": "x"}},
            'signature name: "x" not found',
        ),
        ({"inputs": [GOOD], "parameters": {"signature_name": 3}}, "must be a string"),
    ],
)
def test_what_is_wrong_is_named(server, request_, text):
    assert text in error(server.post(INFER, json=request_), 400)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.floats()
    | st.sampled_from(["item_ids", "k", "BYTES", "INT32", "f1", "valid"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "data", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
TENSORS = st.fixed_dictionaries(
    {"name": st.sampled_from(["item_ids", "k"]) | VALUES},
    optional={
        "datatype": st.sampled_from(["BYTES", "INT32"]) | VALUES,
        "shape": st.lists(st.integers(0, 3), max_size=3) | VALUES,
        "data": VALUES,
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "binary_data", "x"]), VALUES
        ),
    },
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "id": VALUES,
        "inputs": st.lists(TENSORS, max_size=3) | VALUES,
        "outputs": st.lists(TENSORS, max_size=3) | VALUES,
        "parameters": VALUES,
    },
)


@given(REQUESTS, st.binary(max_size=40), st.none() | st.integers(-1, 300))
def test_whatever_comes_is_read_or_refused(document, rest, length):
    inputs = {"item_ids": Input("string", (-1, -1)), "k": Input("int32", (-1,))}
    sides = Sides(inputs, {"valid": Input("int32", (-1,))})
    head = json.dumps(document).encode()
    text = str(len(head) if length is None else length)
    try:
        found = parse_infer(head + rest, text, lambda name: sides, Limits(30))
    except StatusError as error:
        assert str(error) and "\n" not in str(error)
    else:
        shapes = {name: array.ndim for name, array in found.request.inputs.items()}
        assert shapes == {"item_ids": 2, "k": 1}


def test_limits_hold(server):
    def refused(shape, **others):
        return error(
            server.post(INFER, json={"inputs": [{**GOOD, **others, "shape": shape}]}),
            413,
        )

    size = {"parameters": {"binary_data_size": 0}}
    assert "10000 are the most" in refused([10_001, 0], data=[])
    assert "1000000 are the most" in refused([1, 10**12], **size)
    assert "100000 are the most" in refused([0, 10**12], **size)
    bomb = gzip.compress(b" " * 10**8)
    found = server.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
    assert "larger than 100000 bytes" in error(found, 413)
    assert "no JSON" in error(server.post(INFER, content=b"{"), 400)
    deep = b'{"inputs":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    assert "no JSON" in error(server.post(INFER, content=deep), 400)
    found = server.post(INFER, content=b"{}", headers={"Content-Encoding": "br"})
    assert "Send it as gzip" in error(found, 415)
    assert error(server.get(INFER), 405)
    assert error(server.post("/v2/models/films"), 405)
    assert error(server.get("/v2/repository/index"), 404)
    bad_host = server.get("/v2", headers={"Host": "evil.example"})
    assert "is for the host" in error(bad_host, 403)


def test_requests_are_counted(server):
    def count(text):
        lines = server.get("/monitoring/prometheus/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(text))

    good = 'keras_multvae_requests_total{method="infer",status="200"}'
    bad = 'keras_multvae_requests_total{method="infer",status="400"}'
    wrong = 'keras_multvae_requests_total{method="malformed",status="405"}'
    unknown, refused = (
        "keras_multvae_unknown_ids_total",
        ('keras_multvae_refused_requests_total{kind="invalid"}'),
    )
    before = [count(each) for each in (good, bad, wrong, unknown, refused)]
    asked = {"inputs": [bytes_input([["f1", "nobody's"]])]}
    assert server.post(INFER, json=asked).status_code == 200
    assert server.post(INFER, json={}).status_code == 400
    assert server.get(INFER).status_code == 405
    after = [count(each) for each in (good, bad, wrong, unknown, refused)]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("path", ["/v1/models/films:predict", INFER])
def test_answers_are_packed_for_those_who_take_gzip(server, path):
    rows = [["f1"]] * 4
    request = {"inputs": [bytes_input(rows)]}
    if path != INFER:
        request = {"inputs": {"item_ids": rows}}

    def ask(accepted):
        with server.stream(
            "POST", path, json=request, headers={"Accept-Encoding": accepted}
        ) as response:
            raw = b"".join(response.iter_raw())
        return response.headers.get("content-encoding"), raw

    none, plain = ask("identity")
    assert none is None
    for accepted in ("gzip", "deflate, GZIP;q=0.5"):
        encoding, packed = ask(accepted)
        assert encoding == "gzip"
        assert gzip.decompress(packed) == plain
    for accepted in ("gzip;q=0", "br"):
        assert ask(accepted) == (None, plain)


def test_labels_lead_to_the_served_version(served, films, running):
    predict = {"instances": [["f1", "f2"]]}
    with running(films, labels=["stable", "prod"]) as client:
        for label in ("stable", "prod"):
            path = f"/v1/models/films/labels/{label}"
            found = client.post(f"{path}:predict", json=predict).json()
            check(served.recommender, ["f1", "f2"], found["predictions"][0])
            (state,) = client.get(path).json()["model_version_status"]
            assert (state["version"], state["state"]) == ("1", "AVAILABLE")
            metadata = client.get(f"{path}/metadata").json()
            assert metadata["model_spec"]["version"] == "1"
        path = "/v1/models/films/labels/canary:predict"
        assert "label: canary" in error(client.post(path, json=predict), 400)
        shutil.copytree(served.folder / "2", films / "2")
        path = "/v1/models/films/labels/stable/metadata"
        eventually(lambda: client.get(path).json()["model_spec"]["version"] == "2")


def test_nothing_is_ready_without_a_version(tmp_path, running):
    (tmp_path / "films" / "1").mkdir(parents=True)
    with running(tmp_path / "films", labels=["stable"]) as client:
        assert client.get("/v2/health/live").status_code == 200
        found = client.get("/v2/health/ready")
        assert (found.status_code, found.json()) == (400, {"ready": False})
        assert client.get("/v2/models/films/ready").status_code == 400
        assert error(client.get("/v1/models/films/labels/stable"), 404)
