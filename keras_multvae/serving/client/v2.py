"""Predict requests in the Open Inference Protocol, version 2, with binary data.

References:
    - https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from keras_multvae.serving.client.answers import Signatures
from keras_multvae.serving.client.http import HttpTransport
from keras_multvae.serving.tensor_data import DTYPES, pack, unpack
from keras_multvae.typing import Json

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

HEADER = "Inference-Header-Content-Length"
DATATYPES = {stored: name for name, stored in DTYPES.items()}


class InferTransport(HttpTransport):
    """Talks to a server of version 2, as KServe and Triton are."""

    root = "/v2/models"

    def signatures(self) -> Signatures:
        """{signature: {"inputs" or "outputs": {name: dtype}}}.

        The protocol knows one signature; `keras-multvae serve` tells all of them among
        the parameters of its metadata.
        """
        found = self._ask("GET", self._url)
        others = found.get("parameters", {}).get("signatures", {})
        definitions = {"serving_default": found, **others}
        return {
            name: {
                side: {each["name"]: _dtype(each) for each in definition[side]}
                for side in ("inputs", "outputs")
            }
            for name, definition in definitions.items()
        }

    def predict(
        self,
        signature: str,
        inputs: dict[str, np.ndarray],
        dtypes: Mapping[str, DTypeLike],
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, which has the dtypes of `signatures`."""
        heads, data = [], []
        for name, array in inputs.items():
            kind, packed = _packed(array)
            heads.append(
                {
                    "name": name,
                    "datatype": kind,
                    "shape": list(array.shape),
                    "parameters": {"binary_data_size": len(packed)},
                }
            )
            data.append(packed)
        body = {
            "parameters": {"signature_name": signature, "binary_data_output": True},
            "inputs": heads,
            "outputs": [{"name": name} for name in dtypes],
        }
        head = json.dumps(body).encode()
        headers = {
            HEADER: str(len(head)),
            "Content-Type": "application/octet-stream",
        }
        content = head + b"".join(data)
        given, answer = self._send("POST", f"{self._url}/infer", content, headers)
        return _outputs(answer, given.get(HEADER), dtypes)


def _dtype(tensor: Json) -> DTypeLike:
    """The dtype of NumPy that a tensor of the metadata has."""
    stored = DTYPES[tensor["datatype"]]
    return object if stored == "O" else np.dtype(stored).type


def _packed(array: np.ndarray) -> tuple[str, bytes]:
    """The protocol's name of an array's dtype, and its data."""
    if array.dtype == object:
        values = [value.encode() for value in array.reshape(-1).tolist()]
        return "BYTES", pack(np.array(values, object), "O")
    stored = array.dtype.newbyteorder("<").str.replace("|", "<")
    return DATATYPES[stored], pack(array, stored)


def _outputs(
    answer: bytes, length: str | None, dtypes: Mapping[str, DTypeLike]
) -> dict[str, np.ndarray]:
    """The arrays of an answer; any error if it is malformed."""
    end = len(answer) if length is None else int(length)
    found, place = {}, end
    for each in json.loads(answer[:end])["outputs"]:
        stored, shape = DTYPES[each["datatype"]], each["shape"]
        size = each.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = _from_json(each["data"], stored)
        else:
            array = unpack(answer[place : place + size], stored, prod(shape))
            place += size
            if stored == "O":
                array = np.array([value.decode() for value in array], object)
        found[each["name"]] = array.reshape(shape)
    for name, kind in dtypes.items():
        if found[name].dtype != np.dtype(kind):
            raise ValueError(f"{name} is of {found[name].dtype}, not {kind}")
    return {name: found[name] for name in dtypes}


def _from_json(values: Sequence[object], stored: str) -> np.ndarray:
    return np.array(values, object if stored == "O" else stored).reshape(-1)
