"""The routes: TensorFlow Serving's REST API, version 2, the metrics, the page."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from functools import partial
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from keras_multvae.server import page
from keras_multvae.server.answers import dumps
from keras_multvae.server.aside import aside
from keras_multvae.server.card import card_page
from keras_multvae.server.examples import examples
from keras_multvae.server.hosts import CheckedHosts
from keras_multvae.server.http import ERRORS, json_response, read_body
from keras_multvae.server.limits import Budget
from keras_multvae.server.metrics import Metrics
from keras_multvae.server.rest import METHODS, RestApi
from keras_multvae.server.rpc import RpcApi
from keras_multvae.server.status import invalid
from keras_multvae.server.v2 import InferenceApi
from keras_multvae.server.versions import POLL_SECONDS, ModelManager
from keras_multvae.serving.config import METRICS

MAX_BODY = 8 * 2**20  # bytes
GRACE_SECONDS = 30  # seconds to finish requests at the end
MAX_PAGE_BODY = 256 * 2**10  # Enough for some hundred ids.
MAX_QUERY = 200  # letters of a search
HTML = "text/html; charset=utf-8"
PAGE = {
    "/": ("index.html", HTML),
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


def make_app(
    folder: Path,
    max_body: int = MAX_BODY,
    poll_seconds: float = POLL_SECONDS,
    allowed_hosts: Iterable[str] = (),
    any_address: bool = False,
    labels: Iterable[str] = (),
    grpc_address: str | None = None,
) -> Starlette:
    """An ASGI application that serves a model.

    Args:
        folder: The model's folder, as in `saved_models/NAME`.
        max_body: Int, maximum bytes of a request; larger ones get status 413.
        poll_seconds: Float, seconds between two checks of the folder.
        allowed_hosts: Host names of the server, besides localhost and loopback
            addresses; "*" for any.
        any_address: Whether any IP address is allowed as a host.
        labels: Labels of the served version.
        grpc_address: The address for gRPC, as "127.0.0.1:8500"; None for no gRPC.

    Returns:
        The application, with its `Metrics` as `state.metrics`. Its lifespan loads the
        model, watches the folder, and has the gRPC server, whose port is then
        `state.grpc_port`.
    """
    metrics = Metrics()
    budget = Budget()
    manager = ModelManager(folder, metrics, poll_seconds, labels)
    rest = RestApi(manager, metrics, max_body, budget)
    v2 = InferenceApi(manager, metrics, max_body, budget)
    rpc = RpcApi(manager, metrics, max_body, budget)
    pages = _Pages(manager, min(max_body, MAX_PAGE_BODY), budget)

    async def metrics_page(request: Request) -> Response:
        return Response(
            metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await manager.start()
        if grpc_address is not None:
            app.state.grpc_port = await rpc.start(grpc_address)
        yield
        if grpc_address is not None:
            await rpc.stop(GRACE_SECONDS)
        await manager.close()

    app = Starlette(
        routes=[
            *(Route(path, partial(_file, *what)) for path, what in PAGE.items()),
            Route(METRICS, metrics_page),
            Route("/api/model", pages.model),
            Route("/card", pages.card),
            Route("/api/examples", pages.examples),
            Route("/api/search", pages.search),
            Route("/api/similar", pages.similar),
            Route("/api/recommend", pages.recommend, methods=["POST"]),
            Route("/v2", v2.answer, methods=METHODS),
            Route("/v2/{rest:path}", v2.answer, methods=METHODS),
            Route("/{rest:path}", rest.answer, methods=METHODS),
        ],
        lifespan=lifespan,
        middleware=[
            Middleware(
                CheckedHosts,
                allowed=tuple(allowed_hosts),
                addresses=any_address,
                refused=metrics.refused,
            )
        ],
        exception_handlers=ERRORS,
    )
    app.state.metrics = metrics
    return app


class _Pages:
    """The requests of the page, answered by the latest version."""

    def __init__(self, manager: ModelManager, max_body: int, budget: Budget) -> None:
        self._manager = manager
        self._max_body = max_body
        self._budget = budget

    async def model(self, request: Request) -> Response:
        """Name, version, number of items, labels."""
        servable = self._manager.get(self._manager.name)
        content = {"name": self._manager.name, **page.describe(servable)}
        return json_response(dumps(content))

    async def card(self, request: Request) -> Response:
        """The model card."""
        with self._manager.get(self._manager.name).used() as servable:
            content = await aside(card_page, servable.origin)
        return Response(content, media_type=HTML, headers=PAGE_HEADERS)

    async def examples(self, request: Request) -> Response:
        """Made-up histories."""
        with self._manager.get(self._manager.name).used() as servable:
            return json_response(dumps(await examples(servable)))

    async def search(self, request: Request) -> Response:
        """Titles for ?q=."""
        servable = self._manager.get(self._manager.name)
        query = request.query_params.get("q", "")[:MAX_QUERY]
        # In a thread, as a million titles take some milliseconds.
        found = await asyncio.to_thread(page.search, servable, query)
        return json_response(dumps(found))

    async def similar(self, request: Request) -> Response:
        """Items similar to ?id=."""
        with self._manager.get(self._manager.name).used() as servable:
            item = request.query_params.get("id", "")
            return json_response(dumps(await page.similar(servable, item)))

    async def recommend(self, request: Request) -> Response:
        """Recommendations for picked items, with reasons."""
        with self._budget.hold() as hold:
            body = await read_body(request, self._max_body, hold)
        try:
            wanted = json.loads(body)
        except (ValueError, RecursionError):
            raise invalid("The body must be JSON.") from None
        with self._manager.get(self._manager.name).used() as servable:
            return json_response(dumps(await page.recommend(servable, wanted)))


async def _file(name: str, media_type: str, request: Request) -> Response:
    content = files("keras_multvae.server").joinpath("static", name).read_bytes()
    return Response(content, media_type=media_type, headers=PAGE_HEADERS)
