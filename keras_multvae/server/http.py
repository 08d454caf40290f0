"""Bodies and errors of the routes."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from keras_multvae.server.answers import dumps
from keras_multvae.server.limits import Hold
from keras_multvae.server.status import StatusError, invalid

T = TypeVar("T")
BODY_SECONDS = 30.0
# By status, what clients are told besides: when to come again, and that the connection
# ends, as the rest of a body that was not read would be taken for the next request.
HEADERS = {
    408: {"Connection": "close"},
    413: {"Connection": "close"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}
# One at a time: what is large takes many times its size while it is read or written.
_HEAVY = ThreadPoolExecutor(1, "heavy")


def json_response(content: bytes, status: int = 200) -> Response:
    """JSON that is bytes already."""
    return Response(content, status, media_type="application/json")


async def read_body(
    request: Request, most: int, hold: Hold, seconds: float = BODY_SECONDS
) -> bytes:
    """The body of a request; as in TensorFlow Serving, gzip is inflated.

    Args:
        request: The request.
        most: Int, bytes of the largest body.
        hold: Where its bytes are counted.
        seconds: Float, the time that it may take to come.

    Raises:
        StatusError: It is larger than `most` bytes, inflated or not (status 413), it is
            no gzip though it says so, it came too slowly (408), the client went away
            before it was whole, or too many bytes wait already (429).
    """
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size <= most:
                    hold.add(len(part))
                    parts.append(part)
                elif size > 8 * most:
                    break
                else:
                    # Read on, so that the sender comes to read the answer.
                    parts.clear()
    except ClientDisconnect:
        raise StatusError("CANCELLED", "The client has gone.") from None
    except TimeoutError:
        raise StatusError(
            "DEADLINE_EXCEEDED",
            f"The body did not come within {seconds:g} seconds.",
            http_status=408,
        ) from None
    if size > most:
        raise _too_large(most)
    body = b"".join(parts)
    if request.headers.get("content-encoding", "").strip().lower() == "gzip":
        # In a thread: what is small may become as large as is allowed.
        body = await asyncio.to_thread(_inflated, body, most)
        hold.add(len(body))
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


async def run(heavy: bool, function: Callable[..., T], *arguments: object) -> T:
    """Calls a function; if it takes long, in the thread for what does."""
    if heavy:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_HEAVY, partial(function, *arguments))
    return function(*arguments)


async def _status_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StatusError)
    return error_response(str(error), error.http_status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(str(error.detail), error.status_code)


async def _bug(request: Request, error: Exception) -> Response:
    return error_response(f"Internal error: {type(error).__name__}", 500)


def error_response(text: str, status: int) -> Response:
    """An error as TensorFlow Serving words it."""
    response = json_response(dumps({"error": text}), status)
    response.headers.update(HEADERS.get(status, {}))
    return response


# By exception, what answers it.
ERRORS = {StatusError: _status_error, HTTPException: _http_error, Exception: _bug}
