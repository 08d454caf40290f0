"""TensorFlow Serving's REST API.

References:
    - https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import re
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from keras_multvae.server.answers import dumps, predict_body
from keras_multvae.server.catalogue import Catalogue
from keras_multvae.server.http import json_response, read_body, run
from keras_multvae.server.limits import Budget, Hold
from keras_multvae.server.metrics import Metrics
from keras_multvae.server.parsing import Request as Parsed
from keras_multvae.server.parsing import parse_predict
from keras_multvae.server.status import invalid
from keras_multvae.server.tensors import SHOWN
from keras_multvae.server.versions import ModelManager

# Larger bodies are read or written in a thread.
SMALL_BODY, SMALL_ANSWER = 64 * 2**10, 10_000  # bytes, numbers
NAME = r"(?P<name>[^/:]+)"
WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
PATHS = {
    "POST": re.compile(
        f"/v1/models/{NAME}{WHICH}:(?P<verb>classify|regress|predict)", re.I
    ),
    "GET": re.compile(f"/v1/models(?:/{NAME})?{WHICH}(?:/(?P<verb>metadata))?", re.I),
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class RestApi:
    """Answers everything below /v1.

    Args:
        manager: Finds the version that answers.
        metrics: Counts requests.
        max_body: Int, maximum bytes of a request.
        budget: Limits the bytes of waiting requests.
    """

    def __init__(
        self, manager: ModelManager, metrics: Metrics, max_body: int, budget: Budget
    ) -> None:
        self._manager = manager
        self._metrics = metrics
        self._max_body = max_body
        self._budget = budget

    async def answer(self, request: Request) -> Response:
        """The answer to a request; `StatusError` if there is none."""
        path, method = request.scope["path"], request.method
        if not path.lower().startswith("/v1"):
            raise HTTPException(404)
        match = PATHS[method].fullmatch(path) if method in PATHS else None
        parts = match.groupdict() if match else {}
        kind = (parts.get("verb") or "status").lower() if match else "malformed"
        start, status = time.perf_counter(), 500
        try:
            if method == "POST":
                with self._budget.hold() as hold:
                    body = await read_body(request, self._max_body, hold)
                    start = time.perf_counter()
                    which = _which(match, method, path)
                    response = await self._infer(kind, which, body, hold)
                status = response.status_code
                return response
            which = _which(match, method, path)
            if kind == "metadata":
                response = self._metadata(which)
            else:
                response = self._status(which)
            status = response.status_code
            return response
        except Exception as error:
            status = getattr(error, "http_status", 500)
            raise
        finally:
            self._metrics.requests.labels(kind, str(status)).inc()
            self._metrics.latency.labels(kind).observe(time.perf_counter() - start)

    async def _infer(self, verb: str, which: Any, body: bytes, hold: Hold) -> Response:
        """Answers a predict request."""
        in_flight = self._metrics.in_flight.track_inprogress()
        with self._manager.get(*which).used() as servable, in_flight:
            if verb != "predict":
                wanted = {"classify": "Classification", "regress": "Regression"}[verb]
                raise invalid(
                    f"{wanted} signatures are not served; only predict is. Send the "
                    "request to :predict."
                )
            servable.limits.check_body(body)
            parsed = await run(
                len(body) > SMALL_BODY, parse_predict, body, servable.model.inputs_of
            )
            hold.add(servable.cost(parsed.signature, parsed.inputs))
            await run(
                parsed.size > SMALL_ANSWER, self._count, servable.catalogue, parsed
            )
            outputs = await servable.batcher.submit(parsed.signature, parsed.inputs)
        size = sum(array.size for array in outputs.values())
        content = await run(size > SMALL_ANSWER, predict_body, outputs, parsed.by_row)
        return json_response(content)

    def _count(self, catalogue: Catalogue | None, parsed: Parsed) -> None:
        """Counts unknown ids, for operators."""
        histories = parsed.inputs.get("item_ids")
        if catalogue is None or histories is None or histories.ndim != 2:
            return
        unknown, empty = catalogue.count_unknown(histories)
        self._metrics.unknown_ids.inc(unknown)
        self._metrics.empty_histories.inc(empty)

    def _status(self, which: Any) -> Response:
        versions = [
            {
                "version": str(number),
                "state": known.state,
                "status": {
                    "error_code": "UNKNOWN" if known.error else "OK",
                    "error_message": known.error,
                },
            }
            for number, known in self._manager.states(*which).items()
        ]
        return json_response(dumps({"model_version_status": versions}))

    def _metadata(self, which: Any) -> Response:
        servable = self._manager.get(*which)
        content = {
            "model_spec": {
                "name": which[0],
                "signature_name": "",
                "version": str(servable.number),
            },
            "metadata": {"signature_def": {"signature_def": servable.model.describe()}},
        }
        return json_response(dumps(content))


def _which(
    match: re.Match[str] | None, method: str, path: str
) -> tuple[str, int | None, str | None]:
    """Name, version and label in a path."""
    if match is None:
        raise invalid("Malformed request: ", method, " ", path[:SHOWN])
    parts = match.groupdict()
    name, version = parts["name"], parts["version"]
    if name is None:
        raise invalid("Missing model name in request.")
    if version is None:
        return name, None, parts["label"]
    if len(version) > 19 or int(version) >= 2**63:
        raise invalid(f"Failed to convert version: {version[:SHOWN]} to numeric.")
    return name, int(version), None
