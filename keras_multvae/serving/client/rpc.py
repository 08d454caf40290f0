"""Predict requests over gRPC, with TensorFlow Serving's own stubs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_multvae.extras import rpc_error
from keras_multvae.serving.client.answers import Signatures
from keras_multvae.serving.client.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    ServingError,
    ServingTimeoutError,
    ServingUnavailableError,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from numpy.typing import DTypeLike

ERRORS: dict[str, type[ServingError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "FAILED_PRECONDITION": InvalidRequestError,
    "OUT_OF_RANGE": InvalidRequestError,
    "UNIMPLEMENTED": InvalidRequestError,
    "NOT_FOUND": ModelNotFoundError,
    "UNAVAILABLE": ServingUnavailableError,
    "DEADLINE_EXCEEDED": ServingTimeoutError,
}
MAX_BYTES = 64 * 2**20  # of an answer; gRPC's default is 4 MiB


class RpcTransport:
    """Talks to the PredictionService of a server.

    Args:
        address: As in "localhost:8500".
        model: Name of the model.
        version: Int, or None for the latest.
        timeout: Float, seconds for a try.
    """

    def __init__(
        self, address: str, model: str, version: int | None, timeout: float
    ) -> None:
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import (
                get_model_metadata_pb2,
                predict_pb2,
                prediction_service_pb2_grpc,
            )
        except ImportError as error:
            hint = "REST, as in http://localhost:8501, needs neither."
            raise ImportError(f"{rpc_error(error)} {hint}") from error
        self._error = grpc.RpcError
        self._tf = tf
        self._predict_pb2 = predict_pb2
        self._metadata_pb2 = get_model_metadata_pb2
        self._address, self._timeout = address, timeout
        self._model, self._version = model, version
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_receive_message_length", MAX_BYTES)]
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def signatures(self) -> Signatures:
        """{signature: {"inputs" or "outputs": {name: dtype}}}."""
        request = self._metadata_pb2.GetModelMetadataRequest(
            metadata_field=["signature_def"]
        )
        answer = self._ask(self._stub.GetModelMetadata, request)
        found = self._metadata_pb2.SignatureDefMap()
        if not answer.metadata["signature_def"].Unpack(found):
            raise ValueError("there is no signature_def")
        return {
            name: {
                side: {
                    key: self._tf.dtypes.as_dtype(info.dtype).as_numpy_dtype
                    for key, info in getattr(definition, side).items()
                }
                for side in ("inputs", "outputs")
            }
            for name, definition in found.signature_def.items()
            if definition.inputs  # The signature that loading runs has no inputs.
        }

    def predict(
        self,
        signature: str,
        inputs: dict[str, np.ndarray],
        dtypes: Mapping[str, DTypeLike],
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, which has the dtypes of `signatures`."""
        request = self._predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(
                self._tf.make_tensor_proto(
                    array, "string" if array.dtype == object else array.dtype
                )
            )
        answer = self._ask(self._stub.Predict, request)
        missing = sorted(set(dtypes) - set(answer.outputs))
        if missing:
            raise ValueError(f"there is no output {', '.join(missing)}")
        return {
            name: _decoded(self._tf.make_ndarray(answer.outputs[name]))
            for name in dtypes
        }

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _ask(self, method: Callable[..., Message], request: Message) -> Message:
        """Calls a method of the service; converts gRPC's errors to `ServingError`."""
        request.model_spec.name = self._model
        if self._version is not None:
            request.model_spec.version.value = self._version
        try:
            return method(request, timeout=self._timeout)
        except self._error as error:
            kind = ERRORS.get(error.code().name, ServingError)
            text = f"{self._address} answered with {error.code().name}: "
            # One line, whatever the server sends.
            raise kind(text + " ".join(str(error.details()).split())) from None


def _decoded(array: np.ndarray) -> np.ndarray:
    """Bytes as text."""
    if array.dtype != object:
        return array
    text = np.empty(array.size, object)
    text[:] = [value.decode() for value in array.reshape(-1).tolist()]
    return text.reshape(array.shape)
