"""NumPy arrays -> the body of an answer, as TensorFlow Serving writes it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping

import numpy as np

from keras_multvae.server.status import invalid

PIECE = 4096  # values in a block of rows


def predict_body(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """The answer to a predict request.

    Args:
        outputs: An array for each output; strings are bytes in an object array.
        by_row: Whether the request came as `instances`.

    Returns:
        JSON: `predictions`, a value or object for each row, or `outputs`. The name of a
        single output is omitted. Non-finite numbers are `NaN`, `Infinity` and
        `-Infinity`, which is no JSON, but is what TensorFlow Serving writes.

    Raises:
        StatusError: `by_row` is true, and outputs have different numbers of rows.

    Example:

    >>> predict_body({"scores": np.array([[0.1, 2]], "float32")}, by_row=True)
    b'{"predictions":[[0.1,2.0]]}'
    """
    if not by_row:
        columns = {key: column(key, array) for key, array in outputs.items()}
        if len(columns) == 1:
            (single,) = columns.values()
        else:
            named = [dumps(key) + b":" + text for key, text in columns.items()]
            single = b"{" + b",".join(named) + b"}"
        return b'{"outputs":' + single + b"}"
    size = None
    for key, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {key} has no shape information ")
        if size not in (None, len(array)):
            raise invalid(
                f"Tensor name: {key} has inconsistent batch size: {len(array)} "
                f"expecting: {size}"
            )
        size = len(array)
    return b'{"predictions":[' + b",".join(_rows(outputs, size or 0)) + b"]}"


def _rows(outputs: Mapping[str, np.ndarray], size: int) -> Iterator[bytes]:
    """The JSON of all rows, written in blocks."""
    for some in _pieces(size, sum(array.size for array in outputs.values())):
        columns = {key: _values(key, array[some]) for key, array in outputs.items()}
        if len(columns) == 1:
            (rows,) = columns.values()
        else:
            values = zip(*columns.values(), strict=True)
            rows = [dict(zip(columns, row, strict=True)) for row in values]
        yield dumps(rows)[1:-1]


def column(key: str, array: np.ndarray) -> bytes:
    """The JSON of an output, written in blocks of rows."""
    if not array.ndim:
        return dumps(_values(key, array))
    parts = [
        dumps(_values(key, array[some]))[1:-1]
        for some in _pieces(len(array), array.size)
    ]
    return b"[" + b",".join(parts) + b"]"


def _pieces(rows: int, values: int) -> Iterator[slice]:
    """Blocks of rows with some thousand values.

    Python's JSON encoder lets no other thread run, so it gets one block at a time.
    """
    step = max(1, PIECE * rows // max(values, 1))
    for start in range(0, rows, step):
        if start:
            time.sleep(0)
        yield slice(start, start + step)


def dumps(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def _values(key: str, array: np.ndarray) -> object:
    """An array as nested lists."""
    if array.dtype == object:
        write = _base64 if key.endswith("_bytes") else _text
        flat = np.empty(array.size, object)
        flat[:] = [write(value) for value in array.reshape(-1).tolist()]
        return flat.reshape(array.shape).tolist()
    if array.dtype == np.float32:
        # The shortest digits of the float32, not those of a float64.
        return array.astype("U").astype("float64").tolist()
    return array.tolist()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}
