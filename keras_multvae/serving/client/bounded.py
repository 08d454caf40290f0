"""HTTP requests with a time limit, and answers with a size limit.

A socket's time-out limits each read, so a server that sends a byte now and then never
exceeds it. So each request runs in a thread. When the time is over, the caller returns
and closes the connection, so that the thread ends.
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
    """The time limit is exceeded.

    Attributes:
        connected: Whether a connection was made.
    """

    def __init__(self, connected: bool = True) -> None:
        super().__init__()
        self.connected = connected


class TooLargeError(Exception):
    """The answer has more than `MAX_BYTES`."""


class _Try:
    """A request, and the connection that it uses."""

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
        """Closes the connection, so that a thread that waits for it continues."""
        with self._lock:
            self._over = True
            waited = getattr(self._connection, "sock", None)
        if waited is not None:
            with contextlib.suppress(OSError):
                waited.shutdown(socket.SHUT_RDWR)


class _Noted:
    """A connection of urllib3 that registers with the request of its thread."""

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
    """Registers a connection with the request of this thread."""
    current = getattr(_CURRENT, "value", None)
    if current is not None:
        current.waits_for(connection, connected)


class Http:
    """Sends requests to servers, and pools connections.

    Args:
        seconds: Float, the time limit of a request, from the look-up of the server's
            name to the last byte of its answer.
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
            TooLateError: No complete answer arrived in time.
            TooLargeError: The answer is too large.
            urllib3.exceptions.HTTPError: Any other failure.
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
            # Not `stream`, which would read lines of any length between chunks.
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
    """Calls a function with a time limit, and returns its result."""
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
