"""The Open Inference Protocol, version 2, over HTTP, as KServe and Triton speak it.

References:
    - https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from keras_multvae.extras import package_version
from keras_multvae.server.answers import dumps
from keras_multvae.server.http import json_response, packed, read_body, run
from keras_multvae.server.infer import Infer, described, infer_body, parse_infer
from keras_multvae.server.limits import Hold
from keras_multvae.server.parsing import DEFAULT_SIGNATURE
from keras_multvae.server.parsing import Request as Parsed
from keras_multvae.server.predicting import (
    SMALL_ANSWER,
    SMALL_BODY,
    Api,
    Which,
)
from keras_multvae.server.rest import version_number
from keras_multvae.server.servable import Servable
from keras_multvae.server.status import StatusError
from keras_multvae.typing import Json

HEADER = "Inference-Header-Content-Length"
NOT_READY = 400  # The protocol has it that false is a 4xx.
PATHS = {
    "GET": re.compile(
        r"/v2(?:/health/(?P<health>live|ready)"
        r"|/models/(?P<name>[^/]+)(?:/versions/(?P<version>\d+))?(?P<ready>/ready)?)?/?"
    ),
    "POST": re.compile(
        r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>\d+))?/infer"
    ),
}


class InferenceApi(Api):
    """Answers everything below /v2."""

    async def answer(self, request: Request) -> Response:
        """The answer to a request; `StatusError` if there is none."""
        path, method = request.scope["path"], request.method
        match = PATHS[method].fullmatch(path) if method in PATHS else None
        if match is None:
            known = any(pattern.fullmatch(path) for pattern in PATHS.values())
            with self._metrics.counted("malformed"):
                raise HTTPException(405 if known else 404)
        parts = match.groupdict()
        if method == "POST":
            with self._metrics.counted("infer") as count, self._budget.hold() as hold:
                body = await read_body(request, self._max_body, hold)
                count.start()
                length = request.headers.get(HEADER)
                response = await self._infer(_which(parts), body, length, hold)
                return await packed(request, response)
        is_health = parts["health"] or parts["ready"]
        with self._metrics.counted("health" if is_health else "metadata") as count:
            response = self._told(parts)
            count.status = str(response.status_code)
            return await packed(request, response)

    def _told(self, parts: dict[str, str | None]) -> Response:
        """What a GET asks for, by the parts of its path."""
        if parts["health"] == "live":
            return _is("live", True)
        if parts["health"] == "ready":
            return _is("ready", self._serves((self._manager.name, None, None)))
        if parts["name"] is None:
            return _json(
                {
                    "name": "keras_multvae",
                    "version": package_version(),
                    "extensions": ["binary_tensor_data"],
                }
            )
        which = _which(parts)
        if parts["ready"]:
            return _is("ready", self._serves(which), name=which[0])
        return _json(self._metadata(which))

    def _serves(self, which: Which) -> bool:
        try:
            self._manager.get(*which)
        except StatusError:
            return False
        return True

    def _metadata(self, which: Which) -> Json:
        """The tensors of a version: of the default signature, and of each by name."""
        servable = self._manager.get(*which)
        signatures = {
            name: {
                "inputs": described(signature.inputs),
                "outputs": described(signature.results),
            }
            for name, signature in servable.model.signatures.items()
        }
        default = signatures.get(DEFAULT_SIGNATURE, {"inputs": [], "outputs": []})
        return {
            "name": which[0],
            "versions": [str(servable.number)],
            "platform": "tensorflow_savedmodel",
            **default,
            "parameters": {"signatures": signatures},
        }

    async def _infer(
        self, which: Which, body: bytes, length: str | None, hold: Hold
    ) -> Response:
        """Answers a request for a prediction."""
        infer: Infer

        async def read(servable: Servable) -> Parsed:
            nonlocal infer
            large = len(body) > SMALL_BODY
            sides_of, limits = servable.model.sides_of, servable.limits
            infer = await run(large, parse_infer, body, length, sides_of, limits)
            return infer.request

        found = await self.predict(which, hold, read)
        large = found.size > SMALL_ANSWER
        content, head = await run(
            large, infer_body, infer, found.outputs, which[0], found.version
        )
        if head is None:
            return json_response(content)
        return Response(
            content,
            media_type="application/octet-stream",
            headers={HEADER: str(head)},
        )


def _which(parts: dict[str, str | None]) -> Which:
    name, version = parts["name"], parts["version"]
    assert name is not None
    return name, None if version is None else version_number(version), None


def _is(what: str, value: bool, **others: str) -> Response:
    return _json({**others, what: value}, 200 if value else NOT_READY)


def _json(content: Json, status: int = 200) -> Response:
    return json_response(dumps(content), status)
