"""Predict requests over TensorFlow Serving's REST API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_multvae.serving.client.answers import Signatures
from keras_multvae.serving.client.http import HttpTransport
from keras_multvae.typing import JsonValue

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

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


class RestTransport(HttpTransport):
    """Talks to the REST API of a server."""

    root = "/v1/models"

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
