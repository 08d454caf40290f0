"""Predict requests over REST."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from keras_multvae.extras import import_extra
from keras_multvae.serving.client.addresses import Address
from keras_multvae.serving.client.answers import Signatures
from keras_multvae.serving.client.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    ServingError,
    ServingTimeoutError,
    ServingUnavailableError,
)
from keras_multvae.typing import Json, JsonValue

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

BUSY = (429, 502, 503, 504)
DTYPES: dict[str, DTypeLike] = {
    "DT_STRING": object,
    "DT_INT64": "int64",
    "DT_INT32": "int32",
}
DTYPES |= {"DT_FLOAT": "float32", "DT_BOOL": "bool"}
# The types of JSON values for each dtype.
KINDS: dict[str, set[type]] = {
    "object": {str},
    "int64": {int},
    "int32": {int},
    "bool": {bool},
}
KINDS["float32"] = {float, int}
SHOWN = 200  # characters of an error that has no JSON


class RestTransport:
    """Talks to the REST API of a server.

    Args:
        address: As in "http://localhost:8501".
        model: Name of the model.
        version: Int, or None for the latest.
        timeout: Float, seconds for a try.
    """

    def __init__(
        self, address: Address, model: str, version: int | None, timeout: float
    ) -> None:
        urllib3 = import_extra("urllib3", "serving")
        self._errors = urllib3.exceptions
        # It imports urllib3.
        from keras_multvae.serving.client import bounded

        self._bounded = bounded
        path = f"/v1/models/{quote(model, safe='')}"
        if version is not None:
            path += f"/versions/{version}"
        self._address = address
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

    def signatures(self) -> Signatures:
        """{signature: {"inputs" or "outputs": {name: dtype}}}."""
        found = self._ask("GET", self._url + "/metadata")
        definitions = found["metadata"]["signature_def"]["signature_def"]
        return {
            name: {
                side: {
                    key: DTYPES.get(info["dtype"], object)
                    for key, info in definition[side].items()
                }
                for side in ("inputs", "outputs")
            }
            for name, definition in definitions.items()
            # The signature that loading runs has no inputs.
            if definition.get("inputs")
        }

    def predict(
        self,
        signature: str,
        inputs: dict[str, np.ndarray],
        dtypes: Mapping[str, DTypeLike],
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, which has the dtypes of `signatures`."""
        body = {
            "signature_name": signature,
            "inputs": {name: array.tolist() for name, array in inputs.items()},
        }
        found = self._ask("POST", self._url + ":predict", body)["outputs"]
        if len(dtypes) == 1:  # The name of a single output is omitted.
            found = dict.fromkeys(dtypes, found)
        return {name: _array(found[name], kind) for name, kind in dtypes.items()}

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _ask(self, method: str, url: str, body: object = None) -> Json:
        """Sends a request; returns the JSON of the answer; may raise `ServingError`."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self._address.headers}
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
        try:
            return _content(url, status, given, data)
        except ServingError as error:
            # The server may echo the request.
            error.args = (self._address.without_secrets(str(error)),)
            raise

    def _late(self, url: str) -> ServingTimeoutError:
        return ServingTimeoutError(
            f"{url} did not answer within {self._timeout} seconds."
        )


def _content(url: str, status: int, headers: Mapping[str, str], data: bytes) -> Json:
    """The JSON of an answer, or its error."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = {}
    if status == 200 and isinstance(content, dict) and content:
        return content
    text = content.get("error") if isinstance(content, dict) else None
    if not isinstance(text, str) or not text:
        text = data[:SHOWN].decode("utf-8", "replace") or "no reason given"
    # One line, whatever the server sends.
    text = " ".join(f"{url} answered with status {status}: {text}".split())
    if status in BUSY:
        raise ServingUnavailableError(text, _retry_after(headers))
    if status == 404:
        raise ModelNotFoundError(text)
    if status == 408:
        raise ServingTimeoutError(text)
    if status in (400, 405, 413, 501):
        raise InvalidRequestError(text)
    raise ServingError(text)


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


def _array(values: JsonValue, kind: DTypeLike) -> np.ndarray:
    """Nested lists as an array; refuses values of another type."""
    array = np.array(values, object)
    found = set(map(type, array.reshape(-1).tolist()))
    wanted = KINDS[np.dtype(kind).name]
    if not found <= wanted:
        names = sorted(each.__name__ for each in found - wanted)
        raise ValueError(f"{', '.join(names)} where {kind} was expected")
    with np.errstate(over="raise"):
        return array.astype(kind)
