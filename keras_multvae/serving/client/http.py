"""HTTP requests of a client, with the errors of `ServingClient`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import ClassVar
from urllib.parse import quote

from keras_multvae.extras import import_extra
from keras_multvae.serving.client.addresses import Address
from keras_multvae.serving.client.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    ServingError,
    ServingTimeoutError,
    ServingUnavailableError,
)
from keras_multvae.typing import Json

BUSY = (429, 502, 503, 504)
SHOWN = 200  # characters of an error that has no JSON


class HttpTransport:
    """Sends requests to a server; the base class of protocols over HTTP.

    Args:
        address: As in "http://localhost:8501".
        model: Name of the model.
        version: Int, or None for the latest.
        timeout: Float, seconds for a try.
    """

    # Where a protocol has its models, as in "/v1/models".
    root: ClassVar[str]

    def __init__(
        self, address: Address, model: str, version: int | None, timeout: float
    ) -> None:
        urllib3 = import_extra("urllib3", "serving")
        self._errors = urllib3.exceptions
        # It imports urllib3.
        from keras_multvae.serving.client import bounded

        self._bounded = bounded
        self._address = address
        path = f"{self.root}/{quote(model, safe='')}"
        if version is not None:
            path += f"/versions/{version}"
        self._url = f"{address.scheme}://{address.place.rstrip('/')}{path}"
        try:
            urllib3.util.parse_url(self._url)
        except self._errors.LocationValueError:
            raise ValueError(
                "`address` must be as http://host:8501. Received: "
                f"'{address.scheme}://{address.place}'."
            ) from None
        self._http = bounded.Http(timeout)
        self._timeout = timeout

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _ask(self, method: str, url: str, body: object = None) -> Json:
        """Sends a request; returns the JSON of the answer; may raise `ServingError`."""
        content = None if body is None else json.dumps(body).encode()
        _, data = self._send(method, url, content)
        found = _json(data)
        if not isinstance(found, dict) or not found:
            raise self._hidden(_error(url, 200, {}, data))
        return found

    def _send(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """Sends a request; returns headers and body; may raise `ServingError`."""
        headers = {
            "Content-Type": "application/json",
            **(headers or {}),
            **self._address.headers,
        }
        errors, bounded = self._errors, self._bounded
        try:
            status, given, data = self._http.ask(method, url, content, headers)
        except (errors.ConnectTimeoutError, bounded.TooLateError) as error:
            if getattr(error, "connected", False):
                raise self._late(url) from None
            raise ServingUnavailableError(
                f"{url} cannot be reached within {self._timeout} seconds."
            ) from None
        except errors.TimeoutError:
            raise self._late(url) from None
        except bounded.TooLargeError:
            raise ServingError(
                f"{url} answered with more than {bounded.MAX_BYTES} bytes. Ask for "
                "fewer users, or a smaller k, at a time."
            ) from None
        except (errors.HTTPError, OSError) as error:
            text = self._address.without_secrets(f"{url} cannot be reached: {error}")
            raise ServingUnavailableError(text) from None
        if status != 200:
            raise self._hidden(_error(url, status, given, data))
        return given, data

    def _hidden(self, error: ServingError) -> ServingError:
        """An error without secrets: the server may echo the request."""
        error.args = (self._address.without_secrets(str(error)),)
        return error

    def _late(self, url: str) -> ServingTimeoutError:
        return ServingTimeoutError(
            f"{url} did not answer within {self._timeout} seconds."
        )


def _json(data: bytes) -> object:
    """The JSON of a body; an empty object if it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {}


def _error(
    url: str, status: int, headers: Mapping[str, str], data: bytes
) -> ServingError:
    """The error for an answer."""
    content = _json(data)
    text = content.get("error") if isinstance(content, dict) else None
    if not isinstance(text, str) or not text:
        text = data[:SHOWN].decode("utf-8", "replace") or "no reason given"
    # One line, whatever the server sends.
    text = " ".join(f"{url} answered with status {status}: {text}".split())
    if status in BUSY:
        return ServingUnavailableError(text, _retry_after(headers))
    if status == 404:
        return ModelNotFoundError(text)
    if status == 408:
        return ServingTimeoutError(text)
    if status in (400, 405, 413, 415, 501):
        return InvalidRequestError(text)
    return ServingError(text)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait; its header has seconds or a date."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
