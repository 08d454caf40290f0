"""TensorFlow Serving's gRPC API: PredictionService and ModelService.

The stubs are those of tensorflow-serving-api. No browser can send what a gRPC server
reads (HTTP/2 without TLS), so there is no Host or Origin to check here.

References:
    - https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from keras_multvae.extras import rpc_error
from keras_multvae.server.connections import MAX_CONNECTIONS, RPC_CONNECTIONS
from keras_multvae.server.hosts import KINDS
from keras_multvae.server.http import run
from keras_multvae.server.limits import Hold
from keras_multvae.server.parsing import DEFAULT_SIGNATURE
from keras_multvae.server.parsing import Request as Parsed
from keras_multvae.server.predicting import (
    SMALL_ANSWER,
    SMALL_BODY,
    Api,
    Which,
)
from keras_multvae.server.protos import read_predict, write_tensors
from keras_multvae.server.servable import Servable
from keras_multvae.server.status import StatusError, invalid

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpc.aio import Server, ServicerContext

logger = logging.getLogger(__name__)
# Numbers of ModelVersionStatus.State.
STATES = {"LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}
# A client that sends half a request, or none, is sent away in the end.
IDLE_MS, AGE_MS, LEAVING_MS, HANDSHAKE_MS = 300_000, 600_000, 60_000, 10_000
# How long the end leaves to clients to read their last answers.
READING_SECONDS = 0.5
SIGNATURES = "signature_def"


def import_stubs() -> None:
    """Imports what gRPC needs; `ImportError` with a hint where it is missing."""
    try:
        import grpc  # noqa: F401
        from tensorflow_serving.apis import predict_pb2  # noqa: F401
    except ImportError as error:
        raise rpc_error(error) from error


class RpcApi(Api):
    """A gRPC server in the event loop of the HTTP server."""

    _server: Server = None
    _under_way = 0
    _ending = False

    async def start(self, address: str) -> int:
        """Listens, as on "127.0.0.1:8500"; returns the port.

        Raises:
            OSError: The address is taken.
        """
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc as model
        from tensorflow_serving.apis import prediction_service_pb2_grpc as prediction

        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=MAX_CONNECTIONS,
            options=[
                ("grpc.max_receive_message_length", self._max_body),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
                ("grpc.max_allowed_incoming_connections", RPC_CONNECTIONS),
                ("grpc.max_connection_idle_ms", IDLE_MS),
                ("grpc.max_connection_age_ms", AGE_MS),
                ("grpc.max_connection_age_grace_ms", LEAVING_MS),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ],
        )
        prediction.add_PredictionServiceServicer_to_server(
            _servicer(
                prediction.PredictionServiceServicer,
                Predict=self._counted("Predict", self._predict),
                GetModelMetadata=self._counted("GetModelMetadata", self._metadata),
                **{
                    name: self._counted(name, _not_served)
                    for name in ("Classify", "Regress", "MultiInference")
                },
            ),
            self._server,
        )
        model.add_ModelServiceServicer_to_server(
            _servicer(
                model.ModelServiceServicer,
                GetModelStatus=self._counted("GetModelStatus", self._status),
                HandleReloadConfigRequest=self._counted(
                    "HandleReloadConfigRequest", _not_served
                ),
            ),
            self._server,
        )
        try:
            port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"Cannot listen on {address} for gRPC: {error}") from None
        await self._server.start()
        return port

    async def stop(self, seconds: float) -> None:
        """Answers what is under way, for at most so long, and accepts nothing new.

        gRPC closes connections as soon as its last answer is written. A client that
        has not read it by then would find its connection reset.
        """
        self._ending = True
        end = time.monotonic() + seconds
        while self._under_way and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await asyncio.sleep(READING_SECONDS)
        await self._server.stop(max(end - time.monotonic(), 0))

    def _ended(self, context: ServicerContext) -> None:
        self._under_way -= 1

    def _counted(
        self, name: str, answer: Callable[[Message, Hold], Awaitable[Message]]
    ) -> Callable[[Message, ServicerContext], Awaitable[Message]]:
        """A method of a service, with its counters and errors."""

        async def method(request: Message, context: ServicerContext) -> Message:
            import grpc

            if self._ending:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "The server is ending")
            self._under_way += 1
            # Called when the answer is written.
            context.add_done_callback(self._ended)
            try:
                with self._metrics.counted(name), self._budget.hold() as hold:
                    hold.add(request.ByteSize())
                    return await answer(request, hold)
            except StatusError as error:
                kind = KINDS.get(error.http_status)
                if kind:
                    self._metrics.refused(kind)
                code, text = grpc.StatusCode[error.code], str(error)
            except Exception as error:
                logger.exception("%s failed", name)
                text = f"Internal error: {type(error).__name__}"
                code = grpc.StatusCode.INTERNAL
            await context.abort(code, text)
            raise AssertionError("abort() raises")

        return method

    async def _predict(self, request: Message, hold: Hold) -> Message:
        from tensorflow_serving.apis import predict_pb2

        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        wanted: list[str] = []

        async def read(servable: Servable) -> Parsed:
            large = request.ByteSize() > SMALL_BODY
            sides = servable.model.sides_of(signature)
            limits = servable.limits
            parsed, outputs = await run(large, read_predict, request, sides, limits)
            wanted.extend(outputs)
            return parsed

        found = await self.predict(_which(request), hold, read)
        answer = predict_pb2.PredictResponse()
        answer.model_spec.name = request.model_spec.name
        answer.model_spec.signature_name = signature
        answer.model_spec.version.value = found.version
        outputs = {name: found.outputs[name] for name in wanted}
        await run(found.size > SMALL_ANSWER, write_tensors, answer, outputs)
        return answer

    async def _metadata(self, request: Message, hold: Hold) -> Message:
        from tensorflow_serving.apis import get_model_metadata_pb2

        fields = list(request.metadata_field)
        if fields != [SIGNATURES]:
            raise invalid(
                "GetModelMetadataRequest must ask for the metadata_field ",
                f"{SIGNATURES}. Received: {', '.join(fields) or 'none'}.",
            )
        servable = self._manager.get(*_which(request))
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in servable.model.definitions.items():
            signatures.signature_def[name].CopyFrom(definition)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name = request.model_spec.name
        answer.model_spec.version.value = servable.number
        answer.metadata[SIGNATURES].Pack(signatures)
        return answer

    async def _status(self, request: Message, hold: Hold) -> Message:
        from tensorflow_serving.apis import get_model_status_pb2

        answer = get_model_status_pb2.GetModelStatusResponse()
        for number, known in self._manager.states(*_which(request)).items():
            status = answer.model_version_status.add(
                version=number, state=STATES[known.state]
            )
            if known.error:
                status.status.error_code = 2  # UNKNOWN
                status.status.error_message = known.error
        return answer


async def _not_served(request: Message, hold: Hold) -> Message:
    raise StatusError("UNIMPLEMENTED", "This is not served here; Predict is.")


def _which(request: Message) -> Which:
    """Name, version and label of a request's model."""
    spec = request.model_spec
    if not spec.name:
        raise invalid("Missing ModelSpec")
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        return spec.name, spec.version.value, None
    return spec.name, None, spec.version_label if choice else None


def _servicer(base: type, **methods: Callable[..., object]) -> object:
    """A service of generated stubs with these methods."""
    return type(
        base.__name__, (base,), {n: staticmethod(m) for n, m in methods.items()}
    )()
