"""The body of a predict request -> NumPy arrays, as TensorFlow Serving reads it.

Pure: knows JSON, NumPy and the signature's inputs, and no TensorFlow. It accepts what
the server accepts, with two exceptions: a body that is no UTF-8 is refused, as JSON
must be UTF-8, and inputs need the rank that the signature names.

References:
    - https://www.tensorflow.org/tfx/serving/api_rest
    - https://github.com/tensorflow/serving/blob/master/tensorflow_serving/util/json_tensor.cc
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_multvae.serving.local.status import StatusError, invalid

DEFAULT_SIGNATURE = "serving_default"
# What Python's reader says, as TensorFlow Serving's says it.
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
MAX_RANK = 32  # of an array
SHOWN = 200  # characters of a bad value that its error repeats


@dataclass(frozen=True)
class Input:
    """An input of a signature.

    Attributes:
        dtype: TensorFlow's name of it, as in "string", "int64", "float".
        shape: Its dimensions, -1 for free ones; None for any rank.
    """

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Request:
    """A request that has been read.

    Attributes:
        signature: Name of the signature.
        inputs: An array an input; strings are bytes in an object array.
        by_row: Whether it came as `instances`, so that its answer is `predictions`.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    by_row: bool


def parse_predict(
    body: bytes, inputs_of: Callable[[str], Mapping[str, Input]]
) -> Request:
    """Reads the body of a predict request.

    Args:
        body: JSON with `instances` or `inputs`, and optionally `signature_name`.
        inputs_of: Gives the inputs of a signature; raises `StatusError` if there is
            none of that name.

    Returns:
        A `Request`.

    Raises:
        StatusError: The request is not one that TensorFlow Serving would take.

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
            raise _malformed(
                document,
                "not formatted correctly. 'signature_name' key must be a string value.",
            )
        name = name or DEFAULT_SIGNATURE
        specs = inputs_of(name)
        by_row = "instances" in document
        if by_row and "inputs" in document:
            raise _malformed(
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
        raise _too_deep() from None
    for key, array in arrays.items():
        _check_shape(key, array, specs[key])
    return Request(name, arrays, by_row)


def _read_json(body: bytes) -> dict[str, Any]:
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
    except ValueError:  # Python's limit for the digits of a whole number.
        raise invalid(
            "JSON Parse error: Number too big to be stored in double."
        ) from None
    if not isinstance(document, dict):
        raise _malformed(document, "Is not object")
    return document


def _from_instances(
    document: dict[str, Any], specs: Mapping[str, Input]
) -> dict[str, np.ndarray]:
    """Row format: a list of values, or of objects with a value an input."""
    instances = document["instances"]
    if not isinstance(instances, list):
        raise _malformed(document, "Excepting 'instances' to be an list/array")
    if not instances:
        raise _malformed(document, "No values in 'instances' array")
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
                f"object: {_shown(instance)} keys must be equal to: "
                + ",".join(sorted(specs))
            )
    return {key: np.stack(parts) for key, parts in rows.items()}


def _add_row(
    rows: dict[str, list[np.ndarray]],
    key: str,
    value: Any,
    specs: Mapping[str, Input],
) -> None:
    if key not in specs:
        raise invalid("JSON object: does not have named input: ", key)
    row = _tensor(value, specs[key].dtype)
    if rows[key]:
        first = rows[key][0]
        if row.size != first.size:
            raise invalid(f"Expecting tensor size: {first.size} but got: {row.size}")
        if row.shape != first.shape:
            raise invalid(
                f"Expecting shape {_dims(first.shape)} but got: {_dims(row.shape)}"
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
        return {key: _tensor(value, spec.dtype)}
    arrays = {}
    for key, spec in specs.items():
        if key not in value:
            raise invalid(f"Missing named input: {key} in 'inputs' object.")
        arrays[key] = _tensor(value[key], spec.dtype)
    return arrays


def _is_named(value: Any) -> bool:
    """Whether it is an object of named tensors, not one that stands for bytes."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and list(value) == ["b64"]
        and isinstance(value["b64"], str)
    )


def _tensor(value: Any, dtype: str) -> np.ndarray:
    """A JSON value, nested as deep as its first elements are, as an array."""
    if dtype not in _READERS:
        raise StatusError(
            "UNIMPLEMENTED",
            f"Conversion of JSON Value: {_shown(value)} to type: {dtype}",
        )
    kind, read = _READERS[dtype]
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > MAX_RANK:
        raise _too_deep()
    flat: list[Any] = []
    _fill(value, 0, tuple(shape), flat, read)
    array = np.empty(len(flat), kind)
    array[:] = flat
    return array.reshape(shape)


def _fill(
    value: Any,
    level: int,
    shape: tuple[int, ...],
    flat: list[Any],
    read: Callable[[Any], Any],
) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in "
                f"the JSON DOM. Expected at level: {len(shape)}"
            )
        flat.append(read(value))
        return
    if level >= len(shape):
        raise invalid(
            f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for each in value:
        _fill(each, level + 1, shape, flat, read)


def _check_shape(key: str, array: np.ndarray, spec: Input) -> None:
    wanted = spec.shape
    if wanted is None:
        return
    fits = array.ndim == len(wanted) and all(
        size in (-1, found) for size, found in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise invalid(
            f"Input {key} has shape {_dims(array.shape)}, but the signature asks for "
            f"{_dims(wanted)} (-1 is any size)."
        )


def _dims(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _shown(value: Any) -> str:
    """A value as JSON, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _too_deep() -> StatusError:
    return invalid("JSON Parse error: Lists or objects are nested too deeply.")


def _malformed(value: Any, words: str) -> StatusError:
    return invalid(f"JSON Value: {_shown(value)} {words}")


def _wrong_type(value: Any, dtype: str) -> StatusError:
    kinds = {type(None): "Null", str: "String", list: "Array", dict: "Object"}
    kind = str(value) if isinstance(value, bool) else kinds.get(type(value), "Number")
    return invalid(
        f"JSON Value: {_shown(value)} Type: {kind} is not of expected type: {dtype}"
    )


def _string(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise invalid(
                "JSON Parse error: The surrogate pair in string is invalid."
            ) from None
    if not isinstance(value, dict):
        raise _wrong_type(value, "string")
    if not _is_base64(value):
        raise _malformed(value, "not formatted correctly for base64 data")
    text = value["b64"].rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(value, "bool")
    return value


def _integer(dtype: str, least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _wrong_type(value, dtype)
        return value

    return read


def _decimal(dtype: str, kind: type[np.floating]) -> Callable[[Any], float]:
    limits = np.finfo(kind)
    most, largest_int = float(limits.max), 2 ** (limits.nmant + 1) - 1

    def read(value: Any) -> float:
        if type(value) not in (int, float):
            raise _wrong_type(value, dtype)
        if type(value) is int:
            exact = abs(value) <= largest_int
        else:
            exact = not np.isfinite(value) or abs(value) <= most
        if not exact:
            raise invalid(
                f"Cannot convert JSON value: {_shown(value)} to {dtype} without loss "
                "of precision."
            )
        return float(value)

    return read


def _int_reader(dtype: str, kind: str) -> tuple[str, Callable[[Any], int]]:
    limits = np.iinfo(kind)
    return kind, _integer(dtype, int(limits.min), int(limits.max))


_READERS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "string": (object, _string),
    "bool": ("bool", _bool),
    "float": ("float32", _decimal("float", np.float32)),
    "double": ("float64", _decimal("double", np.float64)),
    **{
        name: _int_reader(name, name)
        for name in ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
    },
}
