"""The body of a predict request -> NumPy arrays, as TensorFlow Serving reads it.

It needs no TensorFlow. It accepts what TensorFlow Serving accepts, with two exceptions:
a body must be UTF-8, as JSON must, and inputs need the rank of the signature.

References:
    - https://www.tensorflow.org/tfx/serving/api_rest
    - https://github.com/tensorflow/serving/blob/master/tensorflow_serving/util/json_tensor.cc
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_multvae.server.limits import check_rows
from keras_multvae.server.status import StatusError, invalid
from keras_multvae.server.tensors import (
    dims,
    is_base64,
    malformed,
    shown,
    tensor,
    too_deep,
)
from keras_multvae.typing import Json

DEFAULT_SIGNATURE = "serving_default"
# Error messages of Python's parser, in TensorFlow Serving's words.
JSON_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name": "Missing a name for object member.",
    "Illegal trailing comma": "Missing a name for object member.",
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Expecting ','": "Missing a comma, or the end of an object or array.",
    "Extra data": "The document root must not be followed by other values.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\": "Invalid escape character in string.",
    "Invalid control": "Invalid encoding in string.",
}


@dataclass(frozen=True)
class Input:
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name of the dtype, such as "string", "int64" or "float".
        shape: Its dimensions, -1 for free ones; None for any rank.
    """

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Request:
    """A parsed request.

    Attributes:
        signature: Name of the signature.
        inputs: An array for each input; strings are bytes in an object array.
        by_row: Whether it came as `instances`, so that its answer is `predictions`.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    by_row: bool

    @property
    def size(self) -> int:
        """Values in all inputs."""
        return sum(array.size for array in self.inputs.values())


def parse_predict(
    body: bytes, inputs_of: Callable[[str], Mapping[str, Input]]
) -> Request:
    """Reads the body of a predict request.

    Args:
        body: JSON with `instances` or `inputs`, and optionally `signature_name`.
        inputs_of: Returns the inputs of a signature; raises `StatusError` if it is
            unknown.

    Returns:
        A `Request`.

    Raises:
        StatusError: TensorFlow Serving would refuse the request.

    Example:

    >>> body = b'{"instances": [[1, 2], [3, -1]]}'
    >>> parse_predict(body, lambda name: {"item_ids": Input("int64", (-1, -1))})
    Request(signature='serving_default', inputs={'item_ids': array([[ 1,  2],
           [ 3, -1]])}, by_row=True)
    """
    try:
        document = _read_json(body)
        name = document.get("signature_name", "")
        if not isinstance(name, str):
            raise malformed(
                document,
                "not formatted correctly. 'signature_name' key must be a string value.",
            )
        name = name or DEFAULT_SIGNATURE
        specs = inputs_of(name)
        by_row = "instances" in document
        if by_row and "inputs" in document:
            raise malformed(
                document,
                "Not formatted correctly expecting only one of 'inputs' or "
                "'instances' keys to exist ",
            )
        if by_row:
            arrays = _from_instances(document, specs)
        elif "inputs" in document:
            arrays = _from_inputs(document["inputs"], specs)
        else:
            raise invalid("Missing 'inputs' or 'instances' key")
    except RecursionError:
        raise too_deep() from None
    for key, array in arrays.items():
        check_shape(key, array.shape, specs[key])
    return Request(name, arrays, by_row)


def _read_json(body: bytes) -> Json:
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise invalid(
            "JSON Parse error: Invalid encoding in string. at offset: ", error.start
        ) from None
    except json.JSONDecodeError as error:
        text = next(
            (
                ours
                for start, ours in JSON_ERRORS.items()
                if error.msg.startswith(start)
            ),
            error.msg,
        )
        raise invalid("JSON Parse error: ", text, " at offset: ", error.pos) from None
    except ValueError:  # Python's limit for the digits of an int.
        raise invalid(
            "JSON Parse error: Number too big to be stored in double."
        ) from None
    if not isinstance(document, dict):
        raise malformed(document, "Is not object")
    return document


def _from_instances(
    document: Json, specs: Mapping[str, Input]
) -> dict[str, np.ndarray]:
    """Row format: a list of values, or of objects with a value an input."""
    instances = document["instances"]
    if not isinstance(instances, list):
        raise malformed(document, "Excepting 'instances' to be an list/array")
    if not instances:
        raise malformed(document, "No values in 'instances' array")
    check_rows(len(instances))
    if not isinstance(instances[0], dict) and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    named = _is_named(instances[0])
    single = next(iter(specs))
    rows: dict[str, list[np.ndarray]] = {key: [] for key in specs}
    for number, instance in enumerate(instances):
        if named != _is_named(instance):
            wanted, got = "object", "list"
            if not named:
                wanted, got = "value/list", "object"
            raise invalid(
                f"Expecting {wanted} but got {got} at item {number} of input list"
            )
        for key, value in instance.items() if named else [(single, instance)]:
            try:
                _add_row(rows, key, value, specs)
            except StatusError as error:
                element = f"{number} key: {key}" if named else str(number)
                raise invalid(
                    f"Failed to process element: {element} of 'instances' list. "
                    f"Error: {error.code}: {error}"
                ) from None
        if named and set(instance) != set(specs):
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON "
                f"object: {shown(instance)} keys must be equal to: "
                + ",".join(sorted(specs))
            )
    return {key: np.stack(parts) for key, parts in rows.items()}


def _add_row(
    rows: dict[str, list[np.ndarray]],
    key: str,
    value: object,
    specs: Mapping[str, Input],
) -> None:
    """Adds a value of an instance to its input."""
    if key not in specs:
        raise invalid("JSON object: does not have named input: ", key)
    row = tensor(value, specs[key].dtype)
    if rows[key]:
        first = rows[key][0]
        if row.size != first.size:
            raise invalid(f"Expecting tensor size: {first.size} but got: {row.size}")
        if row.shape != first.shape:
            raise invalid(
                f"Expecting shape {dims(first.shape)} but got: {dims(row.shape)}"
            )
    rows[key].append(row)


def _from_inputs(value: Any, specs: Mapping[str, Input]) -> dict[str, np.ndarray]:
    """Columnar format: the value of the one input, or an object with all of them."""
    if not _is_named(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        ((key, spec),) = specs.items()
        value = {key: value}
    arrays = {}
    for key, spec in specs.items():
        if key not in value:
            raise invalid(f"Missing named input: {key} in 'inputs' object.")
        if isinstance(value[key], list):
            check_rows(len(value[key]))
        arrays[key] = tensor(value[key], spec.dtype)
    return arrays


def _is_named(value: object) -> bool:
    """Whether it is an object of named tensors, not one that encodes bytes."""
    return isinstance(value, dict) and not is_base64(value)


def check_shape(key: str, shape: tuple[int, ...], spec: Input) -> None:
    """Refuses a shape that is not that of the signature's input."""
    wanted = spec.shape
    if wanted is None:
        return
    fits = len(shape) == len(wanted) and all(
        size in (-1, found) for size, found in zip(wanted, shape, strict=True)
    )
    if not fits:
        raise invalid(
            f"Input {key} has shape {dims(shape)}, but the signature asks for "
            f"{dims(wanted)} (-1 is any size)."
        )
