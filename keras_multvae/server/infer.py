"""Bodies of the Open Inference Protocol, version 2: JSON, and binary data after it.

It needs no TensorFlow.

References:
    - https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
    - https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from keras_multvae.server.answers import column, dumps
from keras_multvae.server.limits import Limits, check_rows
from keras_multvae.server.parsing import (
    DEFAULT_SIGNATURE,
    Input,
    Request,
    check_shape,
)
from keras_multvae.server.status import StatusError, invalid
from keras_multvae.server.tensors import SHOWN, dims, shown, tensor
from keras_multvae.serving.tensor_data import DTYPES, pack, unpack
from keras_multvae.typing import Json

# The protocol's names of dtypes by TensorFlow's, and by NumPy's.
DATATYPES = {
    "string": "BYTES",
    "float": "FP32",
    "double": "FP64",
    **{name.lower(): name for name in DTYPES if "INT" in name or name == "BOOL"},
}
DATATYPES |= {"object": "BYTES", "float32": "FP32", "float64": "FP64"}


@dataclass(frozen=True)
class Infer:
    """A parsed request.

    Attributes:
        request: The signature and its inputs.
        outputs: The wanted outputs, and whether each is to be binary.
        id: The request's own name, or None.
    """

    request: Request
    outputs: dict[str, bool]
    id: str | None


@dataclass(frozen=True)
class Sides:
    """The inputs and outputs of a signature by name."""

    inputs: Mapping[str, Input]
    outputs: Mapping[str, Input]


def parse_infer(
    body: bytes, length: str | None, sides_of: Callable[[str], Sides], limits: Limits
) -> Infer:
    """Reads the body of a request.

    Args:
        body: JSON, and behind it what inputs have as binary data.
        length: The header `Inference-Header-Content-Length`: the bytes of the JSON, or
            None if there is nothing behind it.
        sides_of: Returns a signature; raises `StatusError` if it is unknown. The
            request's parameter `signature_name` names it.
        limits: The most values of a body.

    Raises:
        StatusError: The request is wrong, or too large.
    """
    end = len(body) if length is None else _length(length, len(body))
    head, rest = body[:end], body[end:]
    limits.check_body(head)
    try:
        document = json.loads(head.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise invalid("The body is no JSON: ", str(error)[:SHOWN]) from None
    if not isinstance(document, dict):
        raise invalid("The body must be a JSON object.")
    parameters = _parameters(document)
    name = parameters.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise invalid("The parameter signature_name must be a string.")
    sides = sides_of(name)
    inputs = _inputs(_listed(document, "inputs"), rest, sides.inputs, limits)
    binary = parameters.get("binary_data_output") is True
    own = document.get("id")
    if own is not None and not isinstance(own, str):
        raise invalid("The id must be a string.")
    outputs = _outputs(document, sides.outputs, binary)
    return Infer(Request(name, inputs, by_row=False), outputs, own)


def infer_body(
    infer: Infer, outputs: Mapping[str, np.ndarray], model: str, version: int
) -> tuple[bytes, int | None]:
    """The body of an answer, and the bytes of its JSON if there is binary data.

    Args:
        infer: The request.
        outputs: An array for each output of the signature.
        model: The name of the model.
        version: The version that answered.
    """
    parts, behind = [], []
    for name, binary in infer.outputs.items():
        array = outputs[name]
        kind = _datatype(array.dtype.name)
        head = {"name": name, "datatype": kind, "shape": list(array.shape)}
        if binary:
            behind.append(pack(array, DTYPES[kind]))
            size = {"binary_data_size": len(behind[-1])}
            parts.append(dumps({**head, "parameters": size}))
        else:
            data = column("", array.reshape(-1))
            parts.append(dumps(head)[:-1] + b',"data":' + data + b"}")
    head = {"model_name": model, "model_version": str(version)}
    if infer.id is not None:
        head["id"] = infer.id
    content = dumps(head)[:-1] + b',"outputs":[' + b",".join(parts) + b"]}"
    if not behind:
        return content, None
    return content + b"".join(behind), len(content)


def described(tensors: Mapping[str, Input]) -> list[Json]:
    """Inputs or outputs as the metadata of a model have them."""
    return [
        {
            "name": name,
            "datatype": DATATYPES.get(each.dtype, each.dtype.upper()),
            "shape": [-1] if each.shape is None else list(each.shape),
        }
        for name, each in tensors.items()
    ]


def _datatype(dtype: str) -> str:
    """The protocol's name of a dtype."""
    if dtype not in DATATYPES:
        raise StatusError("UNIMPLEMENTED", f"Tensors of {dtype} are not served here.")
    return DATATYPES[dtype]


def _length(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise invalid(
            "Inference-Header-Content-Length must be a number of bytes. Received: ",
            text[:SHOWN],
        )
    if int(text) > most:
        raise invalid(
            f"Inference-Header-Content-Length is {text}, but the body has {most} bytes."
        )
    return int(text)


def _parameters(holder: Json) -> Json:
    found = holder.get("parameters", {})
    if not isinstance(found, dict):
        raise invalid("parameters must be an object. Received: ", shown(found))
    return found


def _listed(document: Json, side: str) -> list[Json]:
    """The objects of `inputs` or `outputs`, each with a name of its own."""
    found = document.get(side)
    if not isinstance(found, list):
        raise invalid(f"{side} must be a list of objects.")
    names = set()
    for each in found:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise invalid(f"Each of {side} must be an object with a name.")
        if each["name"] in names:
            raise invalid(f"{side} has {shown(each['name'])} twice.")
        names.add(each["name"])
        if "shared_memory_region" in _parameters(each):
            raise invalid("There is no shared memory here. Send the data itself.")
    return found


def _inputs(
    given: list[Json], rest: bytes, specs: Mapping[str, Input], limits: Limits
) -> dict[str, np.ndarray]:
    """The arrays of a request's inputs."""
    names = {each["name"] for each in given}
    if names != set(specs):
        raise invalid(
            f"The signature has the inputs {', '.join(specs)}. Received: "
            f"{shown(sorted(names))}."
        )
    arrays, place = {}, 0
    for each in given:
        name = each["name"]
        shape = _shape(each, specs[name], limits)
        size = _parameters(each).get("binary_data_size")
        if size is None:
            arrays[name] = _from_json(each, shape, specs[name])
            continue
        if type(size) is not int or not 0 <= size <= len(rest) - place:
            raise invalid(
                f"Input {name} has a binary_data_size of {shown(size)}, but "
                f"{len(rest) - place} bytes are left."
            )
        data, place = rest[place : place + size], place + size
        arrays[name] = _from_binary(name, data, shape, specs[name])
    if place != len(rest):
        raise invalid(f"{len(rest) - place} bytes of binary data belong to no input.")
    return {name: arrays[name] for name in specs}


def _shape(given: Json, spec: Input, limits: Limits) -> tuple[int, ...]:
    """The shape of an input, whose dtype and limits are checked too."""
    name, shape = given["name"], given.get("shape")
    wanted = _datatype(spec.dtype)
    if given.get("datatype") != wanted:
        raise invalid(
            f"Input {name} has the datatype {wanted}. Received: "
            f"{shown(given.get('datatype'))}."
        )
    if not isinstance(shape, list) or not all(
        type(size) is int and 0 <= size < 2**63 for size in shape
    ):
        raise invalid(f"The shape of {name} must be a list of numbers of elements.")
    check_shape(name, tuple(shape), spec)
    limits.check_values(prod(shape))
    if shape:
        check_rows(shape[0])
    return tuple(shape)


def _from_json(given: Json, shape: tuple[int, ...], spec: Input) -> np.ndarray:
    data = given.get("data")
    if not isinstance(data, list):
        raise invalid(f"Input {given['name']} must have its data as a list.")
    try:
        array = tensor(data, spec.dtype)
    except RecursionError:
        raise invalid("Lists are nested too deeply.") from None
    if array.size != prod(shape):
        raise invalid(
            f"Input {given['name']} has {array.size} values, but its shape is "
            f"{dims(shape)}."
        )
    return array.reshape(shape)


def _from_binary(
    name: str, data: bytes, shape: tuple[int, ...], spec: Input
) -> np.ndarray:
    stored = DTYPES[DATATYPES[spec.dtype]]
    try:
        return unpack(data, stored, prod(shape)).reshape(shape)
    except ValueError as error:
        raise invalid(
            f"The {len(data)} bytes of input {name} do not fit its shape "
            f"{dims(shape)}: {error}."
        ) from None


def _outputs(
    document: Json, specs: Mapping[str, Input], binary: bool
) -> dict[str, bool]:
    """The wanted outputs, all where none are named, and which are binary."""
    if "outputs" not in document:
        return dict.fromkeys(specs, binary)
    found = {}
    for each in _listed(document, "outputs"):
        parameters = _parameters(each)
        if each["name"] not in specs:
            raise invalid(
                f"There is no output {shown(each['name'])}, only {', '.join(specs)}."
            )
        if "classification" in parameters:
            raise invalid("Classification is not served here.")
        found[each["name"]] = parameters.get("binary_data", binary) is True
    return found or dict.fromkeys(specs, binary)
