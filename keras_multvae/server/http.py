"""Bodies and errors of the routes."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from keras_multvae.server.answers import dumps
from keras_multvae.server.status import StatusError, invalid

T = TypeVar("T")


def json_response(content: bytes, status: int = 200) -> Response:
    """JSON that is bytes already."""
    return Response(content, status, media_type="application/json")


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request; as in TensorFlow Serving, gzip is inflated.

    Raises:
        StatusError: It is larger than `most` bytes, inflated or not (status 413), it is
            no gzip though it says so, or the client went away before it was whole.
    """
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size <= most:
                parts.append(part)
            elif size > 8 * most:
                break
            else:
                # Read on, so that the sender comes to read the answer, but keep none.
                parts.clear()
    except ClientDisconnect:
        raise StatusError("CANCELLED", "The client has gone.") from None
    if size > most:
        raise _too_large(most)
    body = b"".join(parts)
    if request.headers.get("content-encoding", "").strip().lower() == "gzip":
        # In a thread: what is small may become as large as is allowed.
        return await asyncio.to_thread(_inflated, body, most)
    return body


def _inflated(body: bytes, most: int) -> bytes:
    """The content of a gzip file, of one member or more; never more than `most`."""
    content = b""
    while body:
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            content += member.decompress(body, most + 1 - len(content))
        except zlib.error as error:
            raise invalid("The body is no gzip: ", str(error)) from None
        if len(content) > most:
            raise _too_large(most)
        if not member.eof:
            raise invalid("The body is no whole gzip: its end is missing.")
        body = member.unused_data
    return content


def _too_large(most: int) -> StatusError:
    return StatusError(
        "INVALID_ARGUMENT",
        f"The request is larger than {most} bytes. Send fewer rows at a time, or start "
        "the server with a larger limit.",
        http_status=413,
    )


async def run(heavy: bool, function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function, in a thread if it takes long."""
    if heavy:
        return await asyncio.to_thread(function, *arguments)
    return function(*arguments)


async def _status_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StatusError)
    return _error(str(error), error.http_status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(str(error.detail), error.status_code)


async def _bug(request: Request, error: Exception) -> Response:
    return _error(f"Internal error: {type(error).__name__}", 500)


def _error(text: str, status: int) -> Response:
    return json_response(dumps({"error": text}), status)


# By exception, what answers it.
ERRORS = {StatusError: _status_error, HTTPException: _http_error, Exception: _bug}
