"""Predict requests over REST."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import numpy as np

from keras_multvae.extras import import_extra
from keras_multvae.serving.client.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    ServingError,
    ServingTimeoutError,
    ServingUnavailableError,
)

BUSY = (502, 503, 504)
DTYPES = {"DT_STRING": object, "DT_INT64": "int64", "DT_INT32": "int32"}
DTYPES |= {"DT_FLOAT": "float32", "DT_BOOL": "bool"}


class RestTransport:
    """Talks to the REST API of a server.

    Args:
        address: As in "http://localhost:8501".
        model: Name of the model.
        version: Int, or None for the latest.
        timeout: Float, seconds for a try.
    """

    def __init__(
        self, address: str, model: str, version: int | None, timeout: float
    ) -> None:
        self._urllib3 = import_extra("urllib3", "serving")
        path = f"/v1/models/{quote(model, safe='')}"
        if version is not None:
            path += f"/versions/{version}"
        self._url = address.rstrip("/") + path
        self._pool = self._urllib3.PoolManager(
            timeout=self._urllib3.Timeout(total=timeout), retries=False
        )
        self._timeout = timeout

    def signatures(self) -> dict[str, dict[str, dict[str, Any]]]:
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
            if definition.get("inputs")  # What loading itself runs has none.
        }

    def predict(
        self, signature: str, inputs: dict[str, np.ndarray], dtypes: dict[str, Any]
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, which has the dtypes of `signatures`."""
        body = {
            "signature_name": signature,
            "inputs": {name: array.tolist() for name, array in inputs.items()},
        }
        found = self._ask("POST", self._url + ":predict", body)["outputs"]
        if len(dtypes) == 1:  # Its name is left out.
            found = dict.fromkeys(dtypes, found)
        return {name: np.array(found[name], kind) for name, kind in dtypes.items()}

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def _ask(self, method: str, url: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        errors = self._urllib3.exceptions
        try:
            answer = self._pool.request(
                method, url, body=content, headers={"Content-Type": "application/json"}
            )
        except errors.ReadTimeoutError:
            raise ServingTimeoutError(
                f"{url} did not answer within {self._timeout} seconds."
            ) from None
        except errors.LocationValueError as error:
            raise ValueError(f"{url} is no address: {error}") from None
        except (errors.HTTPError, OSError) as error:
            raise ServingUnavailableError(f"{url} cannot be reached: {error}") from None
        return _content(url, answer.status, answer.data)


def _content(url: str, status: int, data: bytes) -> Any:
    """The JSON of an answer, or its error."""
    try:
        content = json.loads(data)
    except ValueError:
        content = {}
    if status == 200 and isinstance(content, dict) and content:
        return content
    text = content.get("error") if isinstance(content, dict) else None
    text = text or data[:200].decode("utf-8", "replace") or "no reason given"
    text = f"{url} answered with status {status}: {text}"
    if status in BUSY:
        raise ServingUnavailableError(text)
    if status == 404:
        raise ModelNotFoundError(text)
    if status in (400, 405, 413, 501):
        raise InvalidRequestError(text)
    raise ServingError(text)
