"""Lossless conversion of columns of any library to NumPy; private."""

from __future__ import annotations

import numpy as np

from keras_multvae.typing import Column

# By name, as pandas may not be installed.
_MISSING = ("NoneType", "NAType", "NaTType")


def plain(column: Column) -> Column:
    """A column as a NumPy array; a list stays a list.

    Ints beside missing values stay ints, in an array of objects. As floats, which most
    libraries would return, long ids and times would lose digits. Times with a zone
    become datetime64 in UTC.
    """
    library = type(column).__module__.partition(".")[0]
    if library == "pandas":
        return _of_pandas(column)
    if library == "pyarrow":
        return _of_arrow(column)
    if library == "polars":
        return _of_polars(column)
    if isinstance(column, np.ndarray | list):
        return column
    if isinstance(column, str | bytes):
        raise TypeError(f"Ids must be a list or an array. Received one id: {column!r}.")
    if hasattr(column, "to_numpy"):
        return column.to_numpy()
    return np.asarray(column) if hasattr(column, "__array__") else list(column)


def missing(column: Column) -> np.ndarray | None:
    """(rows,) bool, where a value is missing; None where none can be."""
    if hasattr(column, "is_null") and hasattr(column, "null_count"):
        return column.is_null().to_numpy() if column.null_count() else None
    found: np.ndarray | None
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "f":
            found = np.isnan(column)
        elif column.dtype.kind == "M":
            found = np.isnat(column)
        elif column.dtype.kind == "O":
            found = _missing_objects(column.tolist())
        else:
            return None
    else:
        found = _missing_objects(column)
    return found if found is not None and found.any() else None


def as_array(column: Column) -> np.ndarray:
    """The result of `plain` as an array; a list of times as an array of objects."""
    return column if isinstance(column, np.ndarray) else np.asarray(column)


def _missing_objects(values: list[object]) -> np.ndarray | None:
    types = {
        kind
        for kind in set(map(type, values))
        if kind.__name__ in _MISSING or issubclass(kind, float | np.floating)
    }
    if not types:
        return None
    return np.fromiter(
        (type(v) in types and (type(v).__name__ in _MISSING or v != v) for v in values),
        bool,
        len(values),
    )


def _of_pandas(column: Column) -> np.ndarray:
    dtype = column.dtype
    if hasattr(dtype, "pyarrow_dtype"):
        return _of_arrow(column.array.__arrow_array__())
    if getattr(dtype, "tz", None) is not None:
        return column.array.tz_convert(None).to_numpy()
    if not isinstance(dtype, np.dtype) and column.hasnans:
        return _objects(column.tolist())
    return column.to_numpy()


def _of_arrow(column: Column) -> np.ndarray:
    if column.null_count and not str(column.type).startswith(("timestamp", "date")):
        return _objects(column.to_pylist())
    return column.to_numpy(zero_copy_only=False)


def _of_polars(column: Column) -> np.ndarray:
    keeps = column.dtype.is_temporal() or column.dtype.is_float()
    if column.null_count() and not keeps:
        return _objects(column.to_list())
    return column.to_numpy()


def _objects(values: list[object]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
