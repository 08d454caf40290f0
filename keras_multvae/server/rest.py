"""TensorFlow Serving's REST API.

References:
    - https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from keras_multvae.server.answers import dumps, predict_body
from keras_multvae.server.http import json_response, packed, read_body, run
from keras_multvae.server.limits import Hold
from keras_multvae.server.parsing import Request as Parsed
from keras_multvae.server.parsing import parse_predict
from keras_multvae.server.predicting import (
    SMALL_ANSWER,
    SMALL_BODY,
    Api,
    Which,
)
from keras_multvae.server.servable import Servable
from keras_multvae.server.status import invalid
from keras_multvae.server.tensors import SHOWN

NAME = r"(?P<name>[^/:]+)"
LABEL = r"[^/:]+"
WHICH = rf"(?:/versions/(?P<version>\d+)|/labels/(?P<label>{LABEL}))?"
PATHS = {
    "POST": re.compile(
        f"/v1/models/{NAME}{WHICH}:(?P<verb>classify|regress|predict)", re.I
    ),
    "GET": re.compile(f"/v1/models(?:/{NAME})?{WHICH}(?:/(?P<verb>metadata))?", re.I),
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class RestApi(Api):
    """Answers everything below /v1."""

    async def answer(self, request: Request) -> Response:
        """The answer to a request; `StatusError` if there is none."""
        path, method = request.scope["path"], request.method
        if not path.lower().startswith("/v1"):
            raise HTTPException(404)
        match = PATHS[method].fullmatch(path) if method in PATHS else None
        parts = match.groupdict() if match else {}
        kind = (parts.get("verb") or "status").lower() if match else "malformed"
        with self._metrics.counted(kind) as count:
            if method == "POST":
                with self._budget.hold() as hold:
                    body = await read_body(request, self._max_body, hold)
                    count.start()
                    which = _which(match, method, path)
                    content = await self._infer(kind, which, body, hold)
            else:
                which = _which(match, method, path)
                find = self._metadata if kind == "metadata" else self._status
                content = find(which)
            return await packed(request, json_response(content))

    async def _infer(self, verb: str, which: Which, body: bytes, hold: Hold) -> bytes:
        """Answers a predict request."""

        async def read(servable: Servable) -> Parsed:
            if verb != "predict":
                wanted = {"classify": "Classification", "regress": "Regression"}[verb]
                raise invalid(
                    f"{wanted} signatures are not served; only predict is. Send the "
                    "request to :predict."
                )
            servable.limits.check_body(body)
            large = len(body) > SMALL_BODY
            return await run(large, parse_predict, body, servable.model.inputs_of)

        found = await self.predict(which, hold, read)
        large = found.size > SMALL_ANSWER
        return await run(large, predict_body, found.outputs, found.request.by_row)

    def _status(self, which: Which) -> bytes:
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
        return dumps({"model_version_status": versions})

    def _metadata(self, which: Which) -> bytes:
        servable = self._manager.get(*which)
        content = {
            "model_spec": {
                "name": which[0],
                "signature_name": "",
                "version": str(servable.number),
            },
            "metadata": {"signature_def": {"signature_def": servable.model.describe()}},
        }
        return dumps(content)


def _which(match: re.Match[str] | None, method: str, path: str) -> Which:
    """Name, version and label in a path."""
    if match is None:
        raise invalid("Malformed request: ", method, " ", path[:SHOWN])
    parts = match.groupdict()
    name, version = parts["name"], parts["version"]
    if name is None:
        raise invalid("Missing model name in request.")
    if version is None:
        return name, None, parts["label"]
    return name, version_number(version), None


def version_number(text: str) -> int:
    """The number of a version in a path; `StatusError` if it is too large."""
    if len(text) > 19 or int(text) >= 2**63:
        raise invalid(f"Failed to convert version: {text[:SHOWN]} to numeric.")
    return int(text)
