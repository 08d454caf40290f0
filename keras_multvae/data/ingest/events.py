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

from keras_multvae.data.columns.spilled import Columns
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
    """What is kept of the events, in file order.

    Args:
        min_rating: Optional, events with a lower rating are dropped.

    Attributes:
        users: The user ids of all events, also of those that are dropped.
        items: The item ids, likewise.
        columns: Of the kept events: `users` and `items`, int32 codes of the ids;
            `positions`, int64 source rows; `values`, float64, unless each event counts
            1; `timestamps`, int64 seconds since 1970, if there are any.
        counts: How many events there were, and what was lost.
    """

    def __init__(self, min_rating: float | None) -> None:
        self.min_rating = min_rating
        self.users, self.items = Ids("user"), Ids("item")
        self.columns = Columns()
        self.counts = {
            "events": 0,
            "events_lost_to_min_rating": 0,
            "events_lost_to_zero_value": 0,
        }

    def add(self, chunk: dict[str, Any]) -> None:
        """Checks a chunk and keeps the events that count."""
        start = self.counts["events"]
        users = self.users.encode(chunk["users"], start)
        items = self.items.encode(chunk["items"], start)
        kept = {}
        rows = np.arange(len(users))
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
            kept["values"] = values[rows].astype("float64")
        if "timestamps" in chunk:
            kept["timestamps"] = _seconds(chunk["timestamps"], start)[rows]
        kept |= {"users": users[rows], "items": items[rows], "positions": start + rows}
        self.columns.append(kept)


class Ids:
    """The different ids of a column, numbered as they come."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._ints = Encoded(np.empty(0, "int32"), np.empty(0, "int64"))
        self._names: dict[str, int] = {}

    def encode(self, column: Any, first_row: int) -> np.ndarray:
        """The int32 numbers of a chunk's ids."""
        if not isinstance(column, Encoded):
            with _blaming(self.what):
                column = encode(as_ids(column, first_row))
        number = self._number_ints if column.ids.dtype.kind == "i" else self._number
        return number(column.ids)[column.codes]

    def sorted(self, convert: Callable[[Any], np.ndarray]) -> Encoded:
        """All ids, converted and sorted, and the place of each number among them."""
        ids: np.ndarray = np.empty(len(self._ints.ids), "int64")
        ids[self._ints.codes] = self._ints.ids
        if self._names:
            ids = np.array([*ids.tolist(), *self._names], object)
        with _blaming(self.what):
            return encode(convert(ids))

    def _number(self, names: np.ndarray) -> np.ndarray:
        known = self._names
        fresh = [name for name in names if name not in known]
        known.update(
            zip(fresh, range(len(known), len(known) + len(fresh)), strict=True)
        )
        return np.fromiter(map(known.__getitem__, names), "int32", len(names))

    def _number_ints(self, ids: np.ndarray) -> np.ndarray:
        codes, known = self._ints
        place = np.searchsorted(known, ids)
        fresh = np.ones(len(ids), bool)
        inside = place < len(known)
        fresh[inside] = known[place[inside]] != ids[inside]
        if fresh.any():
            new = np.arange(len(known), len(known) + int(fresh.sum()), dtype="int32")
            codes = np.insert(codes, place[fresh], new)
            known = np.insert(known, place[fresh], ids[fresh])
            self._ints = Encoded(codes, known)
            place += np.cumsum(fresh) - fresh
        return codes[place]


def check_values(values: np.ndarray, first_row: int = 0) -> None:
    """Raises ValueError at the first value that is negative, infinite or NaN."""
    good = np.isfinite(values) & (values >= 0)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            "Values must be finite and >= 0 (they are how much an event counts). "
            f"Received {values[row]} at row {first_row + row}."
        )


def checked_weights(weights: Any, num_users: int, name: str) -> np.ndarray:
    """Sample weights as float32, or ValueError if they are not one a user and >= 0."""
    array = np.asarray(weights, "float32")
    if array.shape != (num_users,) or not (
        np.isfinite(array).all() and (array >= 0).all()
    ):
        raise ValueError(
            f"`{name}` must hold {num_users} finite numbers >= 0, one a user. "
            f"Received: shape {array.shape}, {array.ravel()[:3]}..."
        )
    return array


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"Bad {what} ids. {error}") from None


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
