"""Limits of connections: their number, how long they may be silent, their end.

Uvicorn limits only the time between two requests of a connection. The protocol here
adds limits so that slow or silent clients cannot shut others out: each phase of a
request has a time limit, and if there are too many connections, the one that has waited
longest without being answered is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from keras_multvae.server.answers import dumps
from keras_multvae.server.http import BODY_SECONDS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_CONNECTIONS = 1000
RPC_CONNECTIONS = 256  # of gRPC, each for many requests at a time
BACKLOG = 256  # maximum number of connections that are not accepted yet
# Longer than clients and proxies keep idle connections, so that these close first.
KEEP_ALIVE_SECONDS = 75
HEADER_SECONDS = 10.0
READ_SECONDS = 60.0  # for a client to read its answer
# After the signal to end: time for clients to finish sending.
LINGER_SECONDS = 2.0
SWEEP_SECONDS, DRAINING_SWEEP_SECONDS = 1.0, 0.1
HEADER, BODY, ANSWER, READ, IDLE = "header", "body", "answer", "read", "idle"
# The application answers a slow body; a body that it does not read ends here.
MAX_SECONDS = {
    HEADER: HEADER_SECONDS,
    BODY: BODY_SECONDS + 5,
    READ: READ_SECONDS,
    IDLE: KEEP_ALIVE_SECONDS,
}


class Guard:
    """The shared state of all connections of a server.

    Args:
        most: Int, maximum number of connections.
        refused: Called with the kind of each refusal: "connections", "slow", or
            "malformed" for what is no HTTP.
    """

    def __init__(
        self,
        most: int = MAX_CONNECTIONS,
        refused: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self.most = most
        self.refused = refused
        self.draining_since: float | None = None
        self.connections: set[GuardedProtocol] = set()

    def admit(self, newcomer: GuardedProtocol) -> bool:
        """Whether there is room for a connection; may close another one."""
        if len(self.connections) < self.most:
            return True
        self.refused("connections")
        waiting = [each for each in self.connections if each.phase != ANSWER]
        if not waiting:
            return False
        min(waiting, key=lambda each: each.since).end()
        return True

    async def sweep(self) -> None:
        """Closes connections that take too long, while the server runs."""
        loop = asyncio.get_running_loop()
        while True:
            now, since = loop.time(), self.draining_since
            for each in list(self.connections):
                each.look()
                most = MAX_SECONDS.get(each.phase)
                if most is not None and now - each.since > most:
                    if each.phase != IDLE:
                        self.refused("slow")
                    each.end()
                elif (
                    since is not None
                    and now - since > LINGER_SECONDS
                    and each.phase in (HEADER, IDLE)
                ):
                    each.end()
            await asyncio.sleep(
                SWEEP_SECONDS if since is None else DRAINING_SWEEP_SECONDS
            )


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 with a time limit for each phase of a request; see `Guard`."""

    guard: ClassVar[Guard]
    phase = HEADER
    since = 0.0
    _admitted = False
    _mark: object = None
    _answers = 0

    def connection_made(self, transport: Any) -> None:
        """Accepts or refuses a connection."""
        self.since = self.loop.time()
        if not self.guard.admit(self):
            transport.write(_text(503, "The server has too many connections."))
            transport.close()
            return
        self._admitted = True
        self.guard.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Removes the connection."""
        self.guard.connections.discard(self)
        if self._admitted:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads data of an accepted connection."""
        if self._admitted:
            super().data_received(data)
            self.look()

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        self._answers += 1
        super().on_response_complete()
        self.look()

    def look(self) -> None:
        """Records the phase of the request, and since when."""
        self.phase = self._phase()
        mark = self.phase, self._answers
        if mark != self._mark:
            self._mark, self.since = mark, self.loop.time()

    def _phase(self) -> str:
        """The phase that the connection is in, by the state of its request."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            return BODY if cycle.more_body else ANSWER
        if self.transport.get_write_buffer_size():
            return READ
        if self.conn.their_state is h11.SEND_BODY:
            return BODY
        if cycle is None or self.conn.trailing_data[0]:
            return HEADER
        return IDLE

    def end(self) -> None:
        """Closes the connection in any phase."""
        self.guard.connections.discard(self)
        if self.phase in (HEADER, IDLE):
            if self.conn.trailing_data[0]:
                self.transport.write(_text(408, "The header did not come in time."))
            self.transport.close()
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        """Ends the connection; answers requests that arrive within a moment."""
        # A server that does not drain has no sweep to close it.
        if self.guard.draining_since is None:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answers data that is no HTTP."""
        self.guard.refused("malformed")
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            # An answer is being sent; a second one would be taken for part of it.
            self.transport.abort()
            return
        self.transport.write(_text(400, msg))
        self.transport.close()


def _text(status: int, text: str) -> bytes:
    """An answer outside of any request that closes the connection."""
    body = dumps({"error": text})
    reason = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}
    return (
        f"HTTP/1.1 {status} {reason[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        f"{'Retry-After: 1' + chr(13) + chr(10) if status == 503 else ''}\r\n"
    ).encode() + body


class Server(uvicorn.Server):
    """A server with guarded connections that ends without losing a request.

    Args:
        app: The ASGI application.
        guard: Counts and bounds its connections.
        options: Options of `uvicorn.Config`.
    """

    def __init__(self, app: ASGIApp, guard: Guard, **options: Any) -> None:
        self._guard = guard
        protocol = type("Protocol", (GuardedProtocol,), {"guard": guard})
        super().__init__(
            uvicorn.Config(
                partial(_closing, app, guard),
                http=protocol,
                ws="none",
                interface="asgi3",
                lifespan="on",
                backlog=BACKLOG,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                **options,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, unless the server is told to end before its model is loaded."""
        starting = asyncio.create_task(super().startup(sockets=sockets))
        while not (await asyncio.wait([starting], timeout=0.1))[0]:
            if self.should_exit:
                starting.cancel()
                return
        await starting
        self._sweep = asyncio.create_task(self._guard.sweep())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers pending requests, and for a moment new ones on open connections."""
        self._guard.draining_since = asyncio.get_running_loop().time()
        for each in sockets or ():
            await self._accept_waiting(each)
        await super().shutdown(sockets=sockets)
        self._sweep.cancel()

    async def _accept_waiting(self, listening: socket.socket) -> None:
        """Accepts connections that the system has made, as closing would break them."""
        protocol: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        make = partial(
            protocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # BlockingIOError: no more connections.
            while True:
                accepted, _ = listening.accept()
                accepted.setblocking(False)
                await loop.connect_accepted_socket(make, accepted)


async def _closing(
    app: ASGIApp,
    guard: Guard,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Adds `Connection: close` to answers of a server that is ending."""

    async def sending(message: Message) -> None:
        start = message["type"] == "http.response.start"
        if start and guard.draining_since is not None:
            headers = [*message.get("headers", []), (b"connection", b"close")]
            message = {**message, "headers": headers}
        await send(message)

    await app(scope, receive, sending)
