"""Servers that no client should meet: each answers a connection in its own bad way."""

from __future__ import annotations

import copy
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

DRIP = 0.02  # seconds between two bytes
INPUTS = ("item_ids", "k", "deny", "allow")
RANKED = {"item_ids": "DT_INT64", "scores": "DT_FLOAT", "valid": "DT_INT32"}


def _side(dtypes: dict[str, str]) -> dict[str, Any]:
    return {name: {"dtype": dtype} for name, dtype in dtypes.items()}


METADATA = {
    "metadata": {
        "signature_def": {
            "signature_def": {
                "recommend": {
                    "inputs": _side(dict.fromkeys(INPUTS, "DT_INT64")),
                    "outputs": _side(RANKED),
                }
            }
        }
    }
}
ANSWER = {"outputs": {"item_ids": [[3, 5]], "scores": [[-0.5, -1.5]], "valid": [2]}}
Talk = Callable[[socket.socket, bytes, np.random.Generator], None]


def answer(body: bytes, status: int = 200, *headers: str, length: Any = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Some", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _each(data: bytes, again: bytes = b"") -> Talk:
    """Sends bytes one by one, then others for ever."""

    def talk(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
        for byte in data:
            it.sendall(bytes([byte]))
            time.sleep(DRIP)
        while again:
            it.sendall(again)
            time.sleep(DRIP)

    return talk


def _flood(start: bytes, again: bytes) -> Talk:
    """As fast as it goes, for ever."""

    def talk(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
        it.sendall(start)
        while True:
            it.sendall(again)

    return talk


def _say(data: bytes) -> Talk:
    return lambda it, request, rng: it.sendall(data)


def _silent(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
    while it.recv(4096):
        pass


def _reset(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
    it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    it.close()


def _noise(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
    it.sendall(rng.bytes(int(rng.integers(1, 5000))))


def _broken_http(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
    """A right answer with some bytes of another value, and cut somewhere."""
    data = bytearray(answer(json.dumps(ANSWER).encode(), 200, "X-A: b"))
    for _ in range(int(rng.integers(1, 6))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    it.sendall(data[: int(rng.integers(1, len(data) + 1))])


def _echo(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
    """An error that repeats what was sent, as debugging proxies do."""
    it.sendall(answer(request, int(rng.choice([400, 401, 403, 404, 500, 503]))))


def _echo_json(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
    body = json.dumps({"error": request.decode("latin-1")}).encode()
    it.sendall(answer(body, int(rng.choice([400, 401, 403, 404, 500, 503]))))


def _status(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
    it.sendall(answer(b"{}", int(rng.integers(100, 1000))))


WHEN = ["0", "-5", "soon", "1e999", "nan", "99999", "Fri, 31 Dec 1999 23:59:59 GMT"]
WHEN += ["Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 99 Foo 99999 25:61:61 GMT"]


def _later(it: socket.socket, request: bytes, rng: np.random.Generator) -> None:
    when = [*WHEN, "\xff"]
    chosen = when[int(rng.integers(len(when)))]
    it.sendall(answer(b"{}", 429, f"Retry-After: {chosen}"))


ODD = [None, True, -1, 0, 3, 2.5, 2**70, 1e39, float("nan"), float("inf"), "x", "", [],
       [[]], [1], [[1]], [[1, 2]], [[1], [2, 3]], [["a", "b"]], {}, {"a": 1}, [[None]],
       [[1e400, 5]], [[[1, 2]]], [[10**400, 1]], [True], ["\ud800"]]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from places(each, (*path, place))


def mutated(value: Any, rng: np.random.Generator) -> Any:
    """A value with something else at one of its places, or without it."""
    value = copy.deepcopy(value)
    found = list(places(value))
    path = found[int(rng.integers(len(found)))]
    odd = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
    if not path:
        return odd
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if rng.random() < 0.3:
        del inner[path[-1]]
    else:
        inner[path[-1]] = odd
    return value


def _mutated_answer(
    it: socket.socket, request: bytes, rng: np.random.Generator
) -> None:
    it.sendall(answer(json.dumps(mutated(ANSWER, rng)).encode()))


def _mutated_metadata(
    it: socket.socket, request: bytes, rng: np.random.Generator
) -> None:
    if b"/metadata" in request:
        it.sendall(answer(json.dumps(mutated(METADATA, rng)).encode()))
    else:
        it.sendall(answer(json.dumps(ANSWER).encode()))


RIGHT = answer(json.dumps(ANSWER).encode())
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# By name, what a server does once it has read a request.
KINDS: dict[str, Talk] = {
    "silence": _silent,
    "drips its header": _each(RIGHT[:30], b"X"),
    "drips header lines": _each(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "drips its body": _each(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" "),
    "drips without a length": _each(b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "drips chunks": _each(CHUNKED, b"1\r\n \r\n"),
    "drips the length of a chunk": _each(CHUNKED, b"0"),
    "drips trailers": _each(CHUNKED + b"0\r\n", b"a: b\r\n"),
    "100 Continue for ever": _each(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100 Continue, fast": _flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "a header without end": _flood(b"HTTP/1.1 200 OK\r\nA: ", b"b" * 65536),
    "a body without end": _flood(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536),
    "a chunk's length without end": _flood(CHUNKED, b"0" * 65536),
    "chunks without end": _flood(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "hangs up": lambda it, request, rng: None,
    "resets": _reset,
    "noise": _noise,
    "HTTP/0.9": _say(b"<html>hello</html>"),
    "HTTP/9.9": _say(b"HTTP/9.9 200 OK\r\n\r\n{}"),
    "an HTTP/2 preface": _say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "more than it said": _say(answer(b"{}" * 100, length=2)),
    "less than it said": _say(answer(b"{}", length=100)),
    "a huge length": _say(answer(b"{}", length=10**18)),
    "a negative length": _say(answer(b"{}", length=-5)),
    "a length that is none": _say(answer(b"{}", length="many")),
    "two lengths": _say(answer(b"{}", 200, "Content-Length: 7")),
    "a redirect": _say(answer(b"", 302, "Location: http://127.0.0.1:1/")),
    "gzip that is none": _say(answer(b"{}", 200, "Content-Encoding: gzip")),
    "no JSON": _say(answer(b"<html>")),
    "no UTF-8": _say(answer(b'{"outputs": "\xff\xfe"}')),
    "deep JSON": _say(answer(b"[" * 100_000)),
    "deep JSON of objects": _say(answer(b'{"a":' * 100_000)),
    "any status": _status,
    "any Retry-After": _later,
    "repeats the request": _echo,
    "repeats the request as JSON": _echo_json,
    "bytes changed": _broken_http,
    "answer changed": _mutated_answer,
    "answer changed again": _mutated_answer,
    "metadata changed": _mutated_metadata,
}  # fmt: skip
# Those that the signatures are asked of already; others answer that question well.
AT_ONCE = ("metadata changed",)


@contextmanager
def hostile(kind: str, rng: np.random.Generator, always: bool = False) -> Iterator[int]:
    """The port of a server of a kind; metadata it gives well unless `always`."""
    talk, over = KINDS[kind], threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def serve(it: socket.socket) -> None:
        with it, suppress(OSError):
            while not over.is_set():
                request = _read(it)
                if not request:
                    return
                asked = request.startswith(b"GET") and b"/metadata" in request
                if asked and not always and kind not in AT_ONCE:
                    it.sendall(answer(json.dumps(METADATA).encode()))
                else:
                    talk(it, request, rng)
                    if kind != "metadata changed":
                        return

    def accept() -> None:
        with suppress(OSError):
            while True:
                it, _ = listening.accept()
                accepted.append(it)
                threading.Thread(target=serve, args=[it], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        over.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for it in accepted:
            with suppress(OSError):
                it.shutdown(socket.SHUT_RDWR)


def _read(it: socket.socket) -> bytes:
    """A request, whole if it is HTTP with a length; else what came first."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = it.recv(65536)
        data += part
        if not part or data[:4] not in (b"GET ", b"POST"):
            return data
    head, _, body = data.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    while len(body) < int(length or 0):
        part = it.recv(65536)
        if not part:
            break
        body += part
    return head + b"\r\n\r\n" + body
