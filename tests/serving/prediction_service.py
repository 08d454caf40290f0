"""A gRPC server of tensorflow-serving-api's own stubs around a SavedModel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)


class PredictionService(PredictionServiceServicer):
    """Answers as TensorFlow Serving does; `failures` come first, one a request."""

    def __init__(self, folder, name):
        self.name = name
        self.model = tf.saved_model.load(str(folder))
        content = (folder / "saved_model.pb").read_bytes()
        saved = saved_model_pb2.SavedModel.FromString(content)
        self.definitions = saved.meta_graphs[0]
        self.failures = []
        self.requests = 0

    def _begin(self, request, context):
        self.requests += 1
        if self.failures:
            context.abort(self.failures.pop(0), "as told")
        spec = request.model_spec
        if spec.name != self.name or spec.version.value not in (0, 1):
            which = f"Latest({spec.name})"
            if spec.version.value:
                which = f"Specific({spec.name}, {spec.version.value})"
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {which}"
            )

    def Predict(self, request, context):  # noqa: N802
        self._begin(request, context)
        function = self.model.signatures[request.model_spec.signature_name]
        inputs = {
            name: tf.constant(tf.make_ndarray(value))
            for name, value in request.inputs.items()
        }
        try:
            outputs = function(**inputs)
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        self._begin(request, context)
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in self.definitions.signature_def.items():
            found.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(found)
        return response


@contextmanager
def prediction_service(folder, name):
    """The service and its address."""
    service = PredictionService(folder, name)
    server = grpc.server(ThreadPoolExecutor(2))
    add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield service, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
