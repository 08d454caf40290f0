"""The routes: TensorFlow Serving's REST API, the metrics, and the page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keras_multvae.serving.local import page
from keras_multvae.serving.local.answers import dumps, predict_body
from keras_multvae.serving.local.metrics import Metrics
from keras_multvae.serving.local.parsing import parse_predict
from keras_multvae.serving.local.status import StatusError, invalid
from keras_multvae.serving.local.versions import ModelManager

logger = logging.getLogger(__name__)
MAX_BODY = 8 * 2**20  # bytes
# What is larger is read or written in a thread, while others are answered.
SMALL_BODY, SMALL_ANSWER = 64 * 2**10, 10_000  # bytes, numbers
MODEL = r"/v1/models(?:/(?P<name>[^/:]+))?"
WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
POST = re.compile(f"{MODEL}{WHICH}:(?P<verb>classify|regress|predict)", re.I)
GET = re.compile(f"{MODEL}{WHICH}(?:/(?P<metadata>metadata))?", re.I)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
T = TypeVar("T")


def make_app(
    folder: Path, max_body: int = MAX_BODY, poll_seconds: float | None = None
) -> Starlette:
    """An ASGI application that serves a model.

    Args:
        folder: The model's folder, as in `saved_models/NAME`.
        max_body: Int, bytes of the largest request; a larger one gets status 413.
        poll_seconds: Float, seconds between two looks at the folder.

    Returns:
        The application. Its lifespan loads the model, and watches the folder.
    """
    metrics = Metrics()
    manager = ModelManager(
        folder,
        metrics,
        **({} if poll_seconds is None else {"poll_seconds": poll_seconds}),
    )
    api = _Api(manager, metrics, max_body)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await manager.start()
        yield
        await manager.close()

    return Starlette(
        routes=[
            *(Route(path, partial(_file, *what)) for path, what in PAGE.items()),
            Route("/monitoring/prometheus/metrics", api.metrics_page),
            Route("/api/model", api.page_model),
            Route("/api/search", api.page_search),
            Route("/api/similar", api.page_similar),
            Route("/api/recommend", api.page_recommend, methods=["POST"]),
            Route("/{rest:path}", api.rest, methods=METHODS),
        ],
        lifespan=lifespan,
        exception_handlers={
            StatusError: _status_error,
            HTTPException: _http_error,
            Exception: _bug,
        },
    )


class _Api:
    """The handlers, and what they share."""

    def __init__(self, manager: ModelManager, metrics: Metrics, max_body: int) -> None:
        self.manager = manager
        self.metrics = metrics
        self.max_body = max_body

    async def rest(self, request: Request) -> Response:
        """Everything below /v1, in small letters or large."""
        path, method = request.scope["path"], request.method
        if not path.lower().startswith("/v1"):
            raise HTTPException(404)
        pattern = {"POST": POST, "GET": GET}.get(method)
        match = pattern.fullmatch(path) if pattern else None
        kind = "malformed"
        start, status = time.perf_counter(), 500
        try:
            if method == "POST":
                body = await self._body(request)
                start = time.perf_counter()
            if match is None:
                raise invalid("Malformed request: ", method, " ", path)
            parts = match.groupdict()
            which = self._which(parts)
            if method == "POST":
                kind = parts["verb"].lower()
                response = await self._infer(kind, which, body)
            elif parts["metadata"]:
                kind = "metadata"
                response = self._metadata(which)
            else:
                kind = "status"
                response = self._status(which)
            status = response.status_code
            return response
        except StatusError as error:
            status = error.http_status
            raise
        finally:
            self.metrics.requests.labels(kind, str(status)).inc()
            self.metrics.latency.labels(kind).observe(time.perf_counter() - start)

    def _which(
        self, parts: dict[str, str | None]
    ) -> tuple[str, int | None, str | None]:
        name, version = parts["name"], parts["version"]
        if name is None:
            if "verb" in parts:
                raise invalid("Malformed request: POST /v1/models:", parts["verb"])
            raise invalid("Missing model name in request.")
        if version is not None and int(version) >= 2**63:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        return name, None if version is None else int(version), parts["label"]

    async def _infer(self, verb: str, which: Any, body: bytes) -> Response:
        with self.manager.get(*which).used() as servable, self._in_flight():
            if verb != "predict":
                wanted = {"classify": "Classification", "regress": "Regression"}[verb]
                raise invalid(
                    f"{wanted} signatures are not served; only predict is. Send the "
                    f"request to :predict."
                )
            parsed = await _run(
                len(body) > SMALL_BODY, parse_predict, body, servable.model.inputs_of
            )
            outputs = await servable.batcher.submit(parsed.signature, parsed.inputs)
        size = sum(array.size for array in outputs.values())
        content = await _run(size > SMALL_ANSWER, predict_body, outputs, parsed.by_row)
        return _json(content)

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
            for number, known in self.manager.states(*which).items()
        ]
        return _json(dumps({"model_version_status": versions}))

    def _metadata(self, which: Any) -> Response:
        servable = self.manager.get(*which)
        content = {
            "model_spec": {
                "name": which[0],
                "signature_name": "",
                "version": str(servable.number),
            },
            "metadata": {"signature_def": {"signature_def": servable.model.describe()}},
        }
        return _json(dumps(content))

    async def metrics_page(self, request: Request) -> Response:
        """For Prometheus."""
        return Response(
            self.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def page_model(self, request: Request) -> Response:
        """Name, version and number of items of what is served."""
        servable = self.manager.get(self.manager.name)
        return _json(
            dumps(
                {
                    "name": self.manager.name,
                    "version": servable.number,
                    "items": len(page.catalogue_of(servable).ids),
                }
            )
        )

    async def page_search(self, request: Request) -> Response:
        """Titles for ?q=."""
        with self.manager.get(self.manager.name).used() as servable:
            query = request.query_params.get("q", "")
            return _json(dumps(page.search(servable, query[:200])))

    async def page_similar(self, request: Request) -> Response:
        """Items like ?id=."""
        with self.manager.get(self.manager.name).used() as servable:
            item = request.query_params.get("id", "")
            return _json(dumps(await page.similar(servable, item)))

    async def page_recommend(self, request: Request) -> Response:
        """Recommendations and their reasons for what was picked."""
        body = await self._body(request)
        try:
            wanted = json.loads(body)
        except (ValueError, RecursionError):
            raise invalid("The body must be JSON.") from None
        with self.manager.get(self.manager.name).used() as servable, self._in_flight():
            return _json(dumps(await page.recommend(servable, wanted)))

    def _in_flight(self) -> contextlib.AbstractContextManager[None]:
        return self.metrics.in_flight.track_inprogress()

    async def _body(self, request: Request) -> bytes:
        """The body; `StatusError` with status 413 if it is too large."""
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size <= self.max_body:
                parts.append(part)
            elif size > 8 * self.max_body:
                break
            else:
                # Read on, so that the sender comes to read the answer, but keep none.
                parts.clear()
        if size > self.max_body:
            raise StatusError(
                "INVALID_ARGUMENT",
                f"The request is larger than {self.max_body} bytes. Send fewer rows at "
                "a time, or start the server with a larger limit.",
                http_status=413,
            )
        return b"".join(parts)


async def _run(heavy: bool, function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function, in a thread if it takes long."""
    if heavy:
        return await asyncio.to_thread(function, *arguments)
    return function(*arguments)


async def _file(name: str, media_type: str, request: Request) -> Response:
    content = files("keras_multvae.serving.local").joinpath("static", name).read_bytes()
    return Response(content, media_type=media_type, headers=PAGE_HEADERS)


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


def _error(text: str, status: int) -> Response:
    return _json(dumps({"error": text}), status)


async def _status_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StatusError)
    return _error(str(error), error.http_status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(str(error.detail), error.status_code)


async def _bug(request: Request, error: Exception) -> Response:
    return _error(f"Internal error: {type(error).__name__}", 500)
