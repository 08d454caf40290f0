"""HTTP requests that end in time, whatever the server does, with answers of a bound.

A time-out of a socket bounds each reading from it, so a server that sends a byte now
and then is never too late. So a request runs in a thread of its own, which the caller
leaves when the time is over; what the thread waits for is then closed, and it ends.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

T = TypeVar("T")
MAX_BYTES = 64 * 2**20  # of an answer
PIECE = 2**16
_CURRENT = threading.local()


class TooLateError(Exception):
    """The time is over.

    Attributes:
        connected: Whether the server was reached.
    """

    def __init__(self, connected: bool = True) -> None:
        super().__init__()
        self.connected = connected


class TooLargeError(Exception):
    """The answer has more than `MAX_BYTES`."""


class _Try:
    """One request, and the connection that it waits for."""

    def __init__(self) -> None:
        self._connection: object = None
        self._over = False
        self._lock = threading.Lock()
        self.connected = False

    def waits_for(self, connection: object, connected: bool) -> None:
        with self._lock:
            self._connection = connection
            self.connected = connected
            if self._over:
                raise TooLateError

    def end(self) -> None:
        """Breaks the connection, so that whoever waits for it goes on."""
        with self._lock:
            self._over = True
            waited = getattr(self._connection, "sock", None)
        if waited is not None:
            with contextlib.suppress(OSError):
                waited.shutdown(socket.SHUT_RDWR)


class _Noted:
    """A connection of urllib3's that tells its thread's request what it waits for."""

    def connect(self) -> None:
        _note(self, False)
        super().connect()  # type: ignore[misc]
        _note(self, True)

    def request(self, *arguments: Any, **options: Any) -> None:
        _note(self, self.sock is not None)  # type: ignore[attr-defined]
        super().request(*arguments, **options)  # type: ignore[misc]


class _Plain(_Noted, HTTPConnection):
    pass


class _Secure(_Noted, HTTPSConnection):
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


def _note(connection: object, connected: bool) -> None:
    current = getattr(_CURRENT, "value", None)
    if current is not None:
        current.waits_for(connection, connected)


class Http:
    """Asks servers, and keeps connections to them.

    Args:
        seconds: Float, the time of a request, from looking up the name of the server
            to the last byte of its answer.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=seconds), retries=False
        )
        self._pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def ask(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of an answer.

        Raises:
            TooLateError: There was no whole answer in time.
            TooLargeError: The answer is too large.
            urllib3.exceptions.HTTPError: Whatever else goes wrong on the way.
        """
        return _in_time(self._seconds, lambda: self._ask(method, url, body, headers))

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def _ask(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        answer = self._pool.request(
            method,
            url,
            body=body,
            headers=headers,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            parts, size = [], 0
            # Not `stream`, which reads lines of any length between chunks.
            while part := answer.read(PIECE):
                size += len(part)
                if size > MAX_BYTES:
                    raise TooLargeError
                parts.append(part)
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        return answer.status, answer.headers, b"".join(parts)


def _in_time(seconds: float, function: Callable[[], T]) -> T:
    """What a function gives, if it does so in time."""
    this, ended = _Try(), threading.Event()
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        _CURRENT.value = this
        try:
            found.append(function())
        except BaseException as error:
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="ask", daemon=True).start()
    try:
        in_time = ended.wait(seconds)
    except BaseException:  # Ctrl-C
        this.end()
        raise
    if not in_time:
        this.end()
        raise TooLateError(this.connected)
    if failed:
        raise failed[0]
    return found[0]
