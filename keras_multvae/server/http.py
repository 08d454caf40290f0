"""Reading bodies, and answers to errors."""

from __future__ import annotations

import asyncio
import gzip
import re
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
from keras_multvae.server.tensors import SHOWN

T = TypeVar("T")
BODY_SECONDS = 30.0
# Bytes of an answer from which it is packed, and packed in a thread.
LEAST_PACKED, LEAST_HEAVY = 1024, 64 * 2**10
NEVER = re.compile(r"q\s*=\s*0(\.0*)?")
# Further headers by status: when to retry, and that the connection ends, as the unread
# rest of a body would be taken for the next request.
HEADERS = {
    408: {"Connection": "close"},
    413: {"Connection": "close"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}
# A single thread, as large JSON takes many times its size in memory.
_HEAVY = ThreadPoolExecutor(1, "heavy")


def json_response(content: bytes, status: int = 200) -> Response:
    """An answer of encoded JSON."""
    return Response(content, status, media_type="application/json")


async def read_body(
    request: Request, most: int, hold: Hold, seconds: float = BODY_SECONDS
) -> bytes:
    """The body of a request; as in TensorFlow Serving, gzip is inflated.

    Args:
        request: The request.
        most: Int, maximum bytes of a body.
        hold: Counts its bytes.
        seconds: Float, the time limit of its transfer.

    Raises:
        StatusError: It is larger than `most` bytes, compressed or not (status 413), it
            is no gzip though it claims to be, or is packed in another way (415), it
            came too slowly (408), the client left before it was complete, or too many
            bytes wait already (429).
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
                    # Read on, so that the client gets to read the answer.
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
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise StatusError(
            "INVALID_ARGUMENT",
            f"The body's Content-Encoding is {encoding[:SHOWN]!r}. Send it as gzip, or "
            "as it is.",
            http_status=415,
        )
    if encoding == "gzip":
        # In a thread, as a small file may inflate to the maximum size.
        body = await asyncio.to_thread(_inflated, body, most)
        hold.add(len(body))
    return body


def _inflated(body: bytes, most: int) -> bytes:
    """The content of a gzip file of any number of members; at most `most` bytes."""
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


async def packed(request: Request, response: Response) -> Response:
    """An answer as gzip, if the client takes that and it is worth while."""
    response.headers["Vary"] = "Accept-Encoding"
    content = bytes(response.body)
    if len(content) >= LEAST_PACKED and _takes_gzip(request):
        # Level 9 takes 13 times as long, for 14% less of an answer to 500 users.
        compress = partial(gzip.compress, content, compresslevel=1)
        large = len(content) > LEAST_HEAVY
        content = await asyncio.to_thread(compress) if large else compress()
        response.body = content
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(content))
    return response


def _takes_gzip(request: Request) -> bool:
    """Whether Accept-Encoding names gzip, and not with q=0."""
    for each in request.headers.get("accept-encoding", "").lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        if name == "gzip":
            return not any(NEVER.fullmatch(each) for each in parameters)
    return False


async def run(heavy: bool, function: Callable[..., T], *arguments: object) -> T:
    """Calls a function, in the thread for long calls if it is one."""
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
    """An error in TensorFlow Serving's format."""
    response = json_response(dumps({"error": text}), status)
    response.headers.update(HEADERS.get(status, {}))
    return response


# The handlers of exceptions.
ERRORS = {StatusError: _status_error, HTTPException: _http_error, Exception: _bug}
