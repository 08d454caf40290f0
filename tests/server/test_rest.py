"""The local server's HTTP: answers, errors, limits."""

from __future__ import annotations

import gzip
import json
import shutil
import socket

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server.asking import PREDICT, check, error, eventually

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def server(served, running, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "films"
    shutil.copytree(served.folder / "1", folder / "1")
    with running(folder, max_body=100_000) as client:
        yield client


def test_rows_and_columns(served, server):
    rows = {"instances": [{"item_ids": ["f1", "f2"]}, {"item_ids": ["f3", ""]}]}
    for path in (PREDICT, "/V1/models/films/versions/1:predict"):
        found = server.post(path, json=rows).json()["predictions"]
        check(served.recommender, ["f1", "f2"], found[0])
        check(served.recommender, ["f3"], found[1])
    columns = {"inputs": {"item_ids": [["f1", "f2"], ["f3", ""]]}}
    outputs = server.post(PREDICT, json=columns).json()["outputs"]
    for i, row in enumerate(found):
        assert {key: values[i] for key, values in outputs.items()} == row
    # One input has no need of its name, and a content type is never looked at.
    body = json.dumps({"instances": [["f1", "f2"]]})
    form = {"content-type": "application/x-www-form-urlencoded"}
    again = server.post(PREDICT, content=body, headers=form).json()["predictions"]
    assert again == found[:1]
    embedded = server.post(
        PREDICT, json={"signature_name": "embed", "instances": [["f1", "f2"]]}
    ).json()["predictions"]
    mean, variance = served.recommender.embed([["f1", "f2"]])
    np.testing.assert_allclose(embedded[0]["mean"], mean[0], atol=1e-5)
    np.testing.assert_allclose(
        np.exp(embedded[0]["log_variance"]), variance[0], atol=1e-5
    )


def test_bodies_may_come_as_gzip(served, server):
    body = json.dumps({"instances": [["f1", "f2"]]}).encode()
    plain = server.post(PREDICT, content=body).json()
    packed = gzip.compress(body)
    for content, encoding in (
        (packed, "gzip"),
        (packed, "GZIP"),
        (gzip.compress(body[:9]) + gzip.compress(body[9:]), "gzip"),
    ):
        found = server.post(
            PREDICT, content=content, headers={"content-encoding": encoding}
        )
        assert found.status_code == 200 and found.json() == plain
    page = json.dumps({"items": ["f1"]}).encode()
    answers = [
        server.post("/api/recommend", content=page).content,
        server.post(
            "/api/recommend",
            content=gzip.compress(page),
            headers={"content-encoding": "gzip"},
        ).content,
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        (b"{}", 400, "The body is no gzip"),
        (gzip.compress(b"{}")[:-4], 400, "The body is no whole gzip"),
        (gzip.compress(b"{}") + b"rest", 400, "The body is no gzip"),
        (gzip.compress(b" " * 100_001), 413, "larger than 100000 bytes"),
        (gzip.compress(b" " * 60_000) * 2, 413, "larger than 100000 bytes"),
        (gzip.compress(b"x" * 10**8), 413, "larger than 100000 bytes"),
        (b"", 400, ""),
    ],
)
def test_bad_gzip_is_named(server, content, status, text):
    found = server.post(PREDICT, content=content, headers={"content-encoding": "gzip"})
    assert text in error(found, status)


def test_status_and_metadata(server):
    for path in ("/v1/models/films", "/v1/models/films/versions/1"):
        assert server.get(path).json() == {
            "model_version_status": [
                {
                    "version": "1",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        }
    found = server.get("/v1/models/films/metadata").json()
    assert found["model_spec"] == {
        "name": "films",
        "signature_name": "",
        "version": "1",
    }
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "recommend", "score", "embed"} <= set(signatures)
    info = signatures["serving_default"]["inputs"]["item_ids"]
    assert info["dtype"] == "DT_STRING"
    assert [dim["size"] for dim in info["tensor_shape"]["dim"]] == ["-1", "-1"]
    assert signatures["embed"]["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        # http_rest_api_handler_test.cc, UnsupportedApiCalls and what follows it.
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("POST", "/v1/foo", 400, "Malformed request: POST /v1/foo"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/debug/model_name", 400, "Malformed request"),
        ("POST", "/v1/models", 400, "Malformed request"),
        ("GET", "/v1/models/foo:predict", 400, "Malformed request"),
        ("GET", "/v1/models/foo/version/50:predict", 400, "Malformed request"),
        ("POST", "/v1/models/foo/version/50:regress", 400, "Malformed request"),
        ("POST", "/v1/models/foo/versions/HELLO:regress", 400, "Malformed request"),
        ("POST", f"/v1/models/foo/versions/{2**64 - 1}:regress", 400,
         "Failed to convert version"),
        ("GET", f"/v1/models/films/versions/{'9' * 5000}", 400, "convert version"),
        ("POST", "/v1/models:predict", 400, "Malformed request"),
        ("POST", "/v1/models/foo/metadata", 400, "Malformed request"),
        ("POST", "/v1/models/foo/label/some_label:regress", 400, "Malformed request"),
        ("POST", "/v1/models/foo/versions/50/labels/some_label:regress", 400,
         "Malformed request"),
        ("POST", "/v1/models/foo:predict", 404,
         "Servable not found for request: Latest(foo)"),
        ("POST", "/v1/models/foo/versions/50:predict", 404,
         "Servable not found for request: Specific(foo, 50)"),
        ("POST", "/v1/models/films/versions/99:predict", 404,
         "Servable not found for request: Specific(films, 99)"),
        ("POST", "/v1/models/films/labels/canary:predict", 400,
         "Unrecognized servable version label: canary"),
        ("GET", "/v1/models/foo", 404, "Could not find any versions of model foo"),
        ("GET", "/v1/models/films/versions/9", 404,
         "Could not find version 9 of model films"),
        ("GET", "/v1/models/foo/metadata", 404, "Servable not found"),
        ("POST", "/v1/models/films:classify", 400, "only predict is"),
        ("PUT", PREDICT, 400, "Malformed request: PUT"),
        ("DELETE", PREDICT, 400, "Malformed request: DELETE"),
        ("GET", "/elsewhere", 404, "Not Found"),
        ("POST", "/", 404, "Not Found"),
    ],
)  # fmt: skip
def test_paths_that_are_refused(server, method, path, status, text):
    content = b'{"instances": [1]}' if method == "POST" else None
    assert text in error(server.request(method, path, content=content), status)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"instances": [{"item_ids": [1]}]}, "is not of expected type: string"),
        ({"instances": ["f1"]}, "signature asks for [-1,-1]"),
        ({"signature_name": "x", "instances": [["f1"]]},
         'Serving signature name: "x" not found in signature def'),
        ({"signature_name": "recommend", "instances": [
            {"item_ids": ["f1"], "k": -1, "deny": [], "allow": []}]}, "k must be >= 1"),
        ({"signature_name": "recommend", "instances": [
            {"item_ids": ["f1"], "k": 1.5, "deny": [], "allow": []}]}, "type: int32"),
        ({"signature_name": "recommend", "instances": [{"item_ids": ["f1"]}]},
         "keys must be equal to: allow,deny,item_ids,k"),
        ({"signature_name": "recommend", "inputs": {
            "item_ids": [["f1"]], "k": [1, 2], "deny": [[]], "allow": [[]]}}, ""),
        (b'{"signature_name": "discover", "instances": '
         b'[{"item_ids": ["f1"], "k": 1, "niche": NaN}]}', "niche"),
        (b'{"instances": [{"item_ids": ["f1"', "JSON Parse error"),
        (b'{"instances": [["\xff\xfe"]]}', "Invalid encoding"),
        (b"[" * 90_000, "nested too deeply"),
        (b"", "The document is empty"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(server, body, text):
    content = body if isinstance(body, bytes) else json.dumps(body)
    assert text in error(server.post(PREDICT, content=content), 400)
    assert server.post(PREDICT, json={"instances": [[]]}).status_code == 200


def test_large_requests_are_refused(server):
    for size in (100_001, 10_000_000):
        text = error(server.post(PREDICT, content=b" " * size), 413)
        assert "larger than 100000 bytes" in text
    # Without a length that is told beforehand, too.
    parts = (b" " * 10_000 for _ in range(20))
    assert error(server.post(PREDICT, content=parts), 413)
    fits = json.dumps({"instances": [["f1"] + ["x"] * 15_000]})
    assert server.post(PREDICT, content=fits).status_code == 200


def test_a_client_that_goes_away_is_no_failure(running, films, caplog):
    with running(films) as client:
        with socket.create_connection(
            (client.base_url.host, client.base_url.port)
        ) as it:
            it.sendall(
                b"POST /v1/models/films:predict HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
        eventually(lambda: 'method="predict",status="499"} 1.0' in client.get(
            "/monitoring/prometheus/metrics").text)  # fmt: skip
        assert client.post(PREDICT, json={"instances": [["f1"]]}).status_code == 200
    assert not [record for record in caplog.records if record.exc_info]


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
LEAVES |= st.sampled_from(["f1", "f2", "", 1, 5, -1, 0.5, {"b64": "ZjE="}])
KEYS = st.sampled_from(["item_ids", "k", "deny", "allow", "candidates", "niche", "b64"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
SIGNATURES = st.sampled_from(
    ["serving_default", "recommend", "discover", "score", "embed", "similar_items",
     "recommend_examples", "none such"]
)  # fmt: skip
REQUESTS = st.fixed_dictionaries(
    {}, optional={"signature_name": SIGNATURES | LEAVES, "inputs": VALUES,
                  "instances": st.lists(VALUES, max_size=3) | VALUES},
)  # fmt: skip


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(request=REQUESTS | VALUES, cut=st.integers(0, 400) | st.none())
def test_whatever_comes_is_answered(server, request, cut):
    body = json.dumps(request).encode()[:cut]
    response = server.post(PREDICT, content=body)
    assert response.status_code in (200, 400), response.text
    answer = response.json()
    assert len(answer) == 1
    assert set(answer) <= {"predictions", "outputs", "error"}


@settings(max_examples=100, deadline=None, derandomize=True,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(body=st.binary(max_size=60))
def test_bytes_are_answered(server, body):
    for start in (b"", b'{"instances": [["', b'{"inputs": '):
        error(server.post(PREDICT, content=start + body), 400)
