"""A JSON value -> a NumPy array of a TensorFlow dtype, as TensorFlow Serving reads it.

It needs no TensorFlow.

References:
    - https://github.com/tensorflow/serving/blob/master/tensorflow_serving/util/json_tensor.cc
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_multvae.server.status import StatusError, invalid

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

MAX_RANK = 32  # of an array
SHOWN = 200  # characters of a bad value that its error repeats


def tensor(value: Any, dtype: str) -> np.ndarray:
    """A JSON value as an array, with the nesting of its first elements."""
    if dtype not in _READERS:
        raise StatusError(
            "UNIMPLEMENTED",
            f"Conversion of JSON Value: {shown(value)} to type: {dtype}",
        )
    kind, read = _READERS[dtype]
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > MAX_RANK:
        raise too_deep()
    flat: list[object] = []
    _fill(value, 0, tuple(shape), flat, read)
    array = np.empty(len(flat), kind)
    array[:] = flat
    return array.reshape(shape)


def _fill(
    value: Any,
    level: int,
    shape: tuple[int, ...],
    flat: list[object],
    read: Callable[[Any], object],
) -> None:
    """Appends the converted values of nested lists to `flat`; checks the shape."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in "
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


def dims(shape: tuple[int, ...]) -> str:
    """A shape in TensorFlow Serving's format, such as [2,3]."""
    return f"[{','.join(map(str, shape))}]"


def shown(value: object) -> str:
    """A value as JSON, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def too_deep() -> StatusError:
    """The error for values that are nested too deep."""
    return invalid("JSON Parse error: Lists or objects are nested too deeply.")


def malformed(value: object, words: str) -> StatusError:
    """The error for a value that has not the form in `words`."""
    return invalid(f"JSON Value: {shown(value)} {words}")


def is_base64(value: object) -> bool:
    """Whether it is an object that encodes bytes, {"b64": ...}."""
    return (
        isinstance(value, dict)
        and list(value) == ["b64"]
        and isinstance(value["b64"], str)
    )


def _wrong_type(value: object, dtype: str) -> StatusError:
    kinds = {type(None): "Null", str: "String", list: "Array", dict: "Object"}
    kind = str(value) if isinstance(value, bool) else kinds.get(type(value), "Number")
    return invalid(
        f"JSON Value: {shown(value)} Type: {kind} is not of expected type: {dtype}"
    )


def _string(value: object) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise invalid(
                "JSON Parse error: The surrogate pair in string is invalid."
            ) from None
    if not isinstance(value, dict):
        raise _wrong_type(value, "string")
    if not is_base64(value):
        raise malformed(value, "not formatted correctly for base64 data")
    text = value["b64"].rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def _bool(value: object) -> bool:
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
                f"Cannot convert JSON value: {shown(value)} to {dtype} without loss "
                "of precision."
            )
        return float(value)

    return read


def _int_reader(dtype: str, kind: str) -> tuple[str, Callable[[Any], int]]:
    limits = np.iinfo(kind)
    return kind, _integer(dtype, int(limits.min), int(limits.max))


_READERS: dict[str, tuple[DTypeLike, Callable[[Any], object]]] = {
    "string": (object, _string),
    "bool": ("bool", _bool),
    "float": ("float32", _decimal("float", np.float32)),
    "double": ("float64", _decimal("double", np.float64)),
    **{
        name: _int_reader(name, name)
        for name in ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
    },
}
