"""TensorFlow Serving's gRPC, by the stubs of tensorflow-serving-api."""

from __future__ import annotations

import http.client
import shutil
import threading
import time

import numpy as np
import pytest
from served import serving
from server.asking import eventually

pytest.importorskip("tensorflow_serving")

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from keras_multvae import ServingClient
from keras_multvae.server.metrics import PREFIX

pytestmark = pytest.mark.once

MAX_BODY = 100_000
IN_FLIGHT = f"{PREFIX}_requests_in_flight"


@pytest.fixture(scope="module")
def server(served, tmp_path_factory):
    from keras_multvae.server.app import make_app

    folder = tmp_path_factory.mktemp("rpc") / "films"
    shutil.copytree(served.folder / "1", folder / "1")
    app = make_app(
        folder, MAX_BODY, 0.05, labels=["stable"], grpc_address="127.0.0.1:0"
    )
    with serving(app) as address:
        yield folder, address, f"127.0.0.1:{app.state.grpc_port}"


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server[2]) as channel:
        yield channel


def request(signature="", version=None, label=None, name="films", **inputs):
    found = predict_pb2.PredictRequest()
    found.model_spec.name = name
    found.model_spec.signature_name = signature
    if version is not None:
        found.model_spec.version.value = version
    if label is not None:
        found.model_spec.version_label = label
    for key, value in inputs.items():
        found.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return found


def predict(channel, asked, **options):
    answer = PredictionServiceStub(channel).Predict(asked, timeout=30, **options)
    return answer, {
        name: tf.make_ndarray(value) for name, value in answer.outputs.items()
    }


def failed(call, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == grpc.StatusCode[code], caught.value.details()
    assert text in caught.value.details()


def check(served, history, found, row, k=100):
    items, scores = served.recommender.recommend(history, k=k)[0]
    valid = found["valid"][row]
    assert [item.decode() for item in found["item_ids"][row, :valid]] == items.tolist()
    np.testing.assert_allclose(found["scores"][row, :valid], scores, atol=1e-5)


def test_predict_is_the_recommenders(served, channel):
    rows = [["f1", "f2"], ["f3", ""]]
    for which in ({}, {"version": 1}, {"label": "stable"}):
        answer, found = predict(channel, request(item_ids=rows, **which))
        assert answer.model_spec.version.value == 1
        assert answer.model_spec.signature_name == "serving_default"
        check(served, ["f1", "f2"], found, 0)
        check(served, ["f3"], found, 1)
    inputs = {
        "item_ids": rows,
        "k": np.array([5, 3], "int32"),
        "deny": [[""], ["f4"]],
        "allow": [[""], [""]],
    }
    _, found = predict(channel, request("recommend", **inputs))
    check(served, ["f1", "f2"], found, 0, k=5)
    assert found["valid"].tolist() == [5, 3]
    asked = request(item_ids=rows)
    asked.output_filter.append("valid")
    assert list(predict(channel, asked)[1]) == ["valid"]
    gzip = grpc.Compression.Gzip
    _, packed = predict(channel, request(item_ids=rows), compression=gzip)
    check(served, ["f1", "f2"], packed, 0)


def test_metadata_and_status(server, channel):
    stub = PredictionServiceStub(channel)
    asked = get_model_metadata_pb2.GetModelMetadataRequest()
    asked.model_spec.name = "films"
    failed(lambda: stub.GetModelMetadata(asked), "INVALID_ARGUMENT", "signature_def")
    asked.metadata_field.append("signature_def")
    answer = stub.GetModelMetadata(asked)
    assert answer.model_spec.version.value == 1
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    assert set(found.signature_def["recommend"].inputs) == {
        "item_ids", "k", "deny", "allow"
    }  # fmt: skip
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "films"
    (state,) = ModelServiceStub(channel).GetModelStatus(status).model_version_status
    assert (state.version, state.state, state.status.error_message) == (1, 30, "")
    status.model_spec.version.value = 7
    ask = ModelServiceStub(channel).GetModelStatus
    failed(lambda: ask(status), "NOT_FOUND", "Could not find version 7")


def test_what_is_wrong_is_named(channel):
    def refused(asked, text, code="INVALID_ARGUMENT"):
        failed(lambda: predict(channel, asked), code, text)

    refused(request(item_ids=[["f1"]], name="books"), "Latest(books)", "NOT_FOUND")
    refused(request(item_ids=[["f1"]], version=9), "Specific(films, 9)", "NOT_FOUND")
    refused(request(item_ids=[["f1"]], label="x"), "version label: x")
    refused(request(item_ids=[["f1"]], name=""), "Missing ModelSpec")
    refused(request("x", item_ids=[["f1"]]), 'name: "x" not found')
    refused(request(), "Input tensors must be: item_ids")
    refused(request(item_ids=[["f1"]], x=[1]), "Input tensors must be: item_ids")
    refused(request(item_ids=[[1]]), "is of the dtype string. Received: int32")
    refused(request(item_ids=["f1"]), "the signature asks for [-1,-1]")
    for name, text in (("x", "alias not found"), ("valid", "duplicate output")):
        asked = request(item_ids=[["f1"]])
        asked.output_filter.extend([name, name])
        refused(asked, text)
    asked = request(item_ids=[["f1"]])
    asked.inputs["item_ids"].dtype = 99
    refused(asked, "is of no dtype: 99")
    asked = request(item_ids=[["f1"]])
    asked.inputs["item_ids"].tensor_shape.unknown_rank = True
    refused(asked, "has no shape")
    asked = request(item_ids=[["f1"]])
    asked.inputs["item_ids"].tensor_shape.dim[0].size = -2
    refused(asked, "has a negative size")
    asked = classification_pb2.ClassificationRequest()
    stub = PredictionServiceStub(channel)
    failed(lambda: stub.Classify(asked), "UNIMPLEMENTED", "Predict is")


def test_limits_hold(server, channel):
    """A few bytes can stand for a large array, and for a large message."""

    def sized(*shape):
        asked = request(item_ids=[["f1"]])
        for axis, size in zip(
            asked.inputs["item_ids"].tensor_shape.dim, shape, strict=True
        ):
            axis.size = size
        return asked

    def refused(asked, text):
        failed(lambda: predict(channel, asked), "INVALID_ARGUMENT", text)

    refused(sized(10_001, 1), "10000 are the most")
    refused(sized(1, 10**12), "1000000 are the most")
    refused(sized(1, 200_000), "100000 are the most")
    large = request(item_ids=[["x" * 200 * MAX_BODY]])
    for compression in (None, grpc.Compression.Gzip):
        failed(
            lambda how=compression: predict(channel, large, compression=how),
            "RESOURCE_EXHAUSTED",
            "larger than max",
        )
    # What a browser could send is not HTTP/2, and gets no answer.
    host, port = server[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("POST", "/tensorflow.serving.PredictionService/Predict", b"")
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()


def test_requests_are_counted(server, channel):
    def count(text):
        connection = http.client.HTTPConnection(server[1].removeprefix("http://"))
        connection.request("GET", "/monitoring/prometheus/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(text))

    texts = [
        'keras_multvae_requests_total{method="Predict",status="200"}',
        'keras_multvae_requests_total{method="Predict",status="400"}',
        "keras_multvae_unknown_ids_total",
        'keras_multvae_refused_requests_total{kind="invalid"}',
    ]
    before = list(map(count, texts))
    predict(channel, request(item_ids=[["f1", "nobody's"]]))
    failed(lambda: predict(channel, request()), "INVALID_ARGUMENT", "Input tensors")
    assert [b - a for a, b in zip(before, map(count, texts), strict=True)] == [1] * 4


def test_the_client_and_a_new_version(served, server):
    """`ServingClient` through gRPC while version 2 takes over: no request fails."""
    folder, _, address = server
    versions = [served.recommender, served.newer]
    wanted = [each.recommend(["f1", "f2"], k=5)[0] for each in versions]
    found, over = [], threading.Event()

    def ask():
        with ServingClient(address, "films", retries=0) as client:
            while not over.is_set():
                found.append(client.recommend(["f1", "f2"], k=5)[0])

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        eventually(lambda: found)
        shutil.copytree(served.folder / "2", folder / "2")
        eventually(lambda: found[-1][0].tolist() == wanted[1][0].tolist())
    finally:
        over.set()
        for each in threads:
            each.join()
    for items, scores in found:
        assert any(
            items.tolist() == ids.tolist() and np.allclose(scores, right, atol=1e-5)
            for ids, right in wanted
        )


def test_the_end_waits_for_what_is_under_way(served, films):
    from keras_multvae.server.app import make_app

    app = make_app(films, grpc_address="127.0.0.1:0")
    answers = []
    with serving(app):
        channel = grpc.insecure_channel(f"127.0.0.1:{app.state.grpc_port}")
        predict(channel, request(item_ids=[["f1"]]))
        large = request(item_ids=[["f1", "f2"]] * 10_000)
        asking = threading.Thread(
            target=lambda: answers.append(predict(channel, large))
        )
        asking.start()
        while not app.state.metrics.registry.get_sample_value(IN_FLIGHT):
            assert asking.is_alive()
            time.sleep(0.001)
    asking.join()
    check(served, ["f1", "f2"], answers[0][1], 9_999)
    failed(lambda: predict(channel, request(item_ids=[["f1"]])), "UNAVAILABLE", "")
    channel.close()


def test_a_taken_port_is_named(films, server):
    from keras_multvae.server import serve

    port = int(server[2].rpartition(":")[2])
    with pytest.raises(OSError, match=f"Port {port} of 127.0.0.1 is taken"):
        serve(films, port=0, grpc_port=port)
    with pytest.raises(ValueError, match="`grpc_port` must be from 0 to 65535"):
        serve(films, port=0, grpc_port=65536)
    for label in ("", "a/b", "a:b"):
        with pytest.raises(ValueError, match="A label is part of a URL"):
            serve(films, port=0, labels=[label])
