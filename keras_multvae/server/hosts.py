"""Checks of Host and Origin: pages of other sites may not use the server.

A foreign host name can be made to resolve to this machine, and then a browser treats
its page as of the server's own origin; the Host header reveals that. A page may also
post to any address; the Origin header reveals that.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from keras_multvae.server.http import error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANY = "*"
HOST = re.compile(r"(\[[0-9a-f:.%]*\]|[^:\[\]/@]+?)\.?(?::(\d{1,5}))?", re.I)
READS = ("GET", "HEAD", "OPTIONS")
# The kinds of refused requests by status.
KINDS = {
    400: "invalid",
    404: "not_found",
    405: "invalid",
    408: "slow",
    413: "too_large",
    429: "too_much_waiting",
    503: "queue_full",
}


def split_host(header: str) -> tuple[str, str] | None:
    """Name in lower case and port of a Host header; None if it is malformed.

    Example:

    >>> split_host("LocalHost:8501"), split_host("[::1]"), split_host("a b:c")
    (('localhost', '8501'), ('[::1]', ''), None)
    """
    match = HOST.fullmatch(header.strip())
    if match is None or " " in match[1]:
        return None
    return match[1].lower(), match[2] or ""


def is_loopback(name: str) -> bool:
    """Whether a name or address can only mean this machine."""
    address = _address(name)
    return name == "localhost" if address is None else address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


class CheckedHosts:
    """ASGI middleware that refuses foreign hosts and origins, and counts refusals.

    Args:
        app: The application.
        allowed: Host names besides localhost, without port; "*" for any.
        addresses: Whether any IP address is allowed: unlike a name, an address cannot
            be made to lead here.
        refused: Called with the kind of each refused request.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed: Iterable[str],
        addresses: bool,
        refused: Callable[[str], None],
    ) -> None:
        self._app = app
        self._addresses = addresses
        self._allowed = frozenset(name.lower().rstrip(".") for name in allowed)
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403, or passes the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kind, text = self._check(scope)
        if kind:
            self._refused(kind)
            response = error_response(text, 403)
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = KINDS.get(message["status"])
                if found:
                    self._refused(found)
            await send(message)

        await self._app(scope, receive, counting)

    def _check(self, scope: Scope) -> tuple[str, str]:
        """Why a request is refused: the kind and the message; None if it is not."""
        headers = {
            name: value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"host", b"origin")
        }
        given = headers.get(b"host")
        # Only HTTP/1.0 clients omit it, and no browser is one.
        host = None if given is None else split_host(given)
        if given is not None and not self._knows(host):
            name = host[0] if host else given
            return "host", (
                f"The request is for the host {name[:200]!r}, which is not among those "
                "that this server is called by. Start it with --allowed-hosts and this "
                "name if it is."
            )
        origin = headers.get(b"origin")
        if origin is None or scope["method"] in READS or ANY in self._allowed:
            return "", ""
        scheme, _, rest = origin.partition("://")
        port = {"http": "80", "https": "443"}.get(scheme, "")
        found = split_host(rest)
        if (
            host is None
            or found is None
            or (found[0], found[1] or port) != (host[0], host[1] or port)
        ):
            return "origin", (
                f"The request comes from a page of {origin[:200]!r}. Only this "
                "server's own page may send it."
            )
        return "", ""

    def _knows(self, host: tuple[str, str] | None) -> bool:
        """Whether a Host or Origin is one of this server."""
        if ANY in self._allowed:
            return True
        if host is None:
            return False
        name = host[0]
        if name in self._allowed or is_loopback(name):
            return True
        return self._addresses and _address(name) is not None
