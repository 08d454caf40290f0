"""Columns of events, checked, encoded and thinned out chunk by chunk; private.

A chunk is a dict of columns of one length, in file order: `users` and `items`, raw ids
or `Encoded`; `ratings`, `values` and `timestamps`, numbers, if the source has them.
Arrays and files both come this way, so there is one set of rules for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from keras_multvae.data.vocabulary import as_ids

# Rows: large enough for NumPy to be fast, small enough to be nothing beside the data.
CHUNK = 1 << 19


class Encoded(NamedTuple):
    """A column of ids: int32 indices into its unique ids, and those."""

    codes: np.ndarray
    ids: np.ndarray


def encode(ids: np.ndarray) -> Encoded:
    """Encodes what `as_ids` gave; the unique ids come out sorted."""
    if ids.dtype.kind == "i":
        low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, 0)
        if high - low < 8 * len(ids):
            # Most ids are numbers in a short range: a table is faster than a sort.
            shifted = ids - low
            table = np.zeros(high - low + 1, "int32")
            table[shifted] = 1
            present = np.flatnonzero(table)
            table[present] = np.arange(len(present))
            return Encoded(table[shifted], present + low)
        unique, codes = np.unique(ids, return_inverse=True)
        return Encoded(codes.astype("int32"), unique)
    # A dict is many times faster here than NumPy's sort of Python strings.
    names = sorted(set(ids))
    code = {name: index for index, name in enumerate(names)}
    codes = np.fromiter(map(code.__getitem__, ids), "int32", len(ids))
    return Encoded(codes, as_ids(names))


def array_chunks(users: Any, items: Any, **numbers: Any) -> Iterator[dict[str, Any]]:
    """Chunks of whole columns, where a column of numbers may be None."""
    columns = {}
    for name, ids in (("users", users), ("items", items)):
        with _blaming(name[:-1]):
            columns[name] = as_ids(ids)
    size = len(columns["users"])
    if len(columns["items"]) != size:
        raise ValueError(
            f"Columns differ in length: {size} users, {len(columns['items'])} items."
        )
    for name, column in numbers.items():
        if column is not None:
            columns[name] = np.asarray(column)
            if columns[name].shape != (size,):
                raise ValueError(
                    f"`{name}` must have one number an event, ({size},). Received: "
                    f"shape {columns[name].shape}."
                )
    for start in range(0, size, CHUNK):
        yield {name: column[start : start + CHUNK] for name, column in columns.items()}


class Kept:
    """What is kept of the events, in file order: no more than that need fit in memory.

    Args:
        min_rating: Optional, events with a lower rating are dropped.
    """

    def __init__(self, min_rating: float | None) -> None:
        self.min_rating = min_rating
        self.users, self.items = _Ids("user"), _Ids("item")
        self.counts = {
            "events": 0,
            "events_lost_to_min_rating": 0,
            "events_lost_to_zero_value": 0,
        }
        self._positions: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._timestamps: list[np.ndarray] = []

    def add(self, chunk: dict[str, Any]) -> None:
        """Checks a chunk and keeps the events that count."""
        start = self.counts["events"]
        users = self.users.encode(chunk["users"], start)
        items = self.items.encode(chunk["items"], start)
        rows = np.arange(len(users.codes))
        self.counts["events"] += len(rows)
        if "ratings" in chunk:
            ratings = _numbers(chunk["ratings"], "ratings", start)
            if self.min_rating is not None:
                rows = np.flatnonzero(ratings >= self.min_rating)
                self.counts["events_lost_to_min_rating"] += len(ratings) - len(rows)
        elif self.min_rating is not None:
            raise ValueError(
                f"`min_rating`={self.min_rating} needs ratings: name the rating "
                "column, or leave `min_rating` out."
            )
        if "values" in chunk:
            values = _numbers(chunk["values"], "values", start)
            check_values(values, start)
            positive = rows[values[rows] > 0]
            self.counts["events_lost_to_zero_value"] += len(rows) - len(positive)
            rows = positive
            self._values.append(values[rows].astype("float64"))
        if "timestamps" in chunk:
            self._timestamps.append(_seconds(chunk["timestamps"], start)[rows])
        self._positions.append(start + rows)
        self.users.add(users, rows)
        self.items.add(items, rows)

    def positions(self) -> np.ndarray:
        """(kept,) int64 source rows; to be asked for once, like the next two."""
        return _joined(self._positions)

    def values(self) -> np.ndarray | None:
        """(kept,) float64, or None where each event counts 1."""
        return _joined(self._values) if self._values else None

    def timestamps(self) -> np.ndarray | None:
        """(kept,) int64 seconds since 1970, if there are any."""
        return _joined(self._timestamps) if self._timestamps else None


class _Ids:
    """A column of kept ids, of which every chunk was encoded apart."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._chunks: list[Encoded] = []

    def encode(self, column: Any, first_row: int) -> Encoded:
        """The column of a chunk."""
        if isinstance(column, Encoded):
            return column
        with _blaming(self.what):
            return encode(as_ids(column, first_row))

    def add(self, column: Encoded, rows: np.ndarray) -> None:
        """Keeps the given rows of a chunk, and all its unique ids."""
        self._chunks.append(Encoded(column.codes[rows], column.ids))

    def merged(self, convert: Callable[[Any], np.ndarray]) -> Encoded:
        """The chunks as one, over all their ids, sorted; to be asked for once."""
        ids = np.concatenate([chunk.ids for chunk in self._chunks])
        with _blaming(self.what):
            final, unique = encode(convert(ids))
        codes = np.empty(sum(len(chunk.codes) for chunk in self._chunks), "int32")
        entry = name = 0
        for chunk in self._chunks:
            into = codes[entry : entry + len(chunk.codes)]
            into[:] = final[name : name + len(chunk.ids)][chunk.codes]
            entry, name = entry + len(chunk.codes), name + len(chunk.ids)
        self._chunks.clear()
        return Encoded(codes, unique)


def check_values(values: np.ndarray, first_row: int = 0) -> None:
    """Raises ValueError at the first value that is negative, infinite or NaN."""
    good = np.isfinite(values) & (values >= 0)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            "Values must be finite and >= 0 (they are how much an event counts). "
            f"Received {values[row]} at row {first_row + row}."
        )


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"Bad {what} ids. {error}") from None


def _joined(chunks: list[np.ndarray]) -> np.ndarray:
    joined = np.concatenate(chunks)
    chunks.clear()
    return joined


def _numbers(column: np.ndarray, name: str, first_row: int) -> np.ndarray:
    array = column
    if array.dtype.kind not in "iuf":
        # Objects may be numbers all the same (None among them becomes NaN).
        parsed = [_number(value) for value in array.tolist()]
        array = np.array(parsed, "float64")
    bad = np.isnan(array)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"`{name}` must be numbers. Received {column[row]!r} at row "
            f"{first_row + row} ({int(bad.sum())} such rows among the first "
            f"{first_row + len(bad)}): drop or mend them."
        )
    return array


def _number(value: Any) -> float:
    try:
        # Text is not parsed: a rating column of strings is a mistake upstream.
        return float("nan") if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError):
        return float("nan")


def _seconds(column: np.ndarray, first_row: int) -> np.ndarray:
    array = column
    if array.dtype.kind == "M":
        missing = np.isnat(array)
        array = array.astype("datetime64[s]").astype("int64").astype("float64")
        array[missing] = np.nan
    array = _numbers(array, "timestamps", first_row)
    if not np.isfinite(array).all():
        raise ValueError("`timestamps` must be finite seconds since 1970.")
    return array.astype("int64")
