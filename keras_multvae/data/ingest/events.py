"""Columns of events, checked, encoded and thinned out chunk by chunk; private.

A chunk is a dict of columns of one length, in file order: `users` and `items`, raw ids
or `CodedIds`; `ratings`, `values` and `timestamps`, if the source has them.
Arrays and files both come this way, so there is one set of rules for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from keras_multvae.data.columns.csr import LARGEST, SMALLEST, in_range
from keras_multvae.data.columns.plain import as_array, missing, plain
from keras_multvae.data.columns.spilled import Columns
from keras_multvae.data.ingest.numbering import CodedIds, IdEncoder, blaming, missing_of
from keras_multvae.data.ingest.times import Clock
from keras_multvae.data.vocabulary import row_at
from keras_multvae.typing import Column

# Rows: large enough for NumPy to be fast, small enough to be nothing beside the data.
CHUNK = 1 << 19
_RATINGS_ALONE = (
    "Ratings need `min_rating`, the lowest that counts as liked; without it the worst "
    "rating would count like the best. Leave the ratings out if every event counts."
)


def array_chunks(
    users: object, items: object, **others: Any
) -> Iterator[dict[str, Any]]:
    """Chunks of whole columns, where one of the `others` may be None."""
    columns = {}
    for name, ids in (("users", users), ("items", items)):
        with blaming(name[:-1]):
            columns[name] = plain(ids)
            if getattr(columns[name], "ndim", 1) != 1:
                raise ValueError(
                    f"Ids must be 1-D. Received: shape {columns[name].shape}."
                )
    size = len(columns["users"])
    if len(columns["items"]) != size:
        raise ValueError(
            f"Columns differ in length: {size} users, {len(columns['items'])} items."
        )
    for name, column in others.items():
        if column is not None:
            columns[name] = as_array(plain(column))
            if columns[name].shape != (size,):
                raise ValueError(
                    f"`{name}` must have one number an event, ({size},). Received: "
                    f"shape {columns[name].shape}."
                )
    for start in range(0, size, CHUNK):
        yield {name: column[start : start + CHUNK] for name, column in columns.items()}


class EventBuffer:
    """What is kept of the events, in file order.

    Args:
        min_rating: Optional, events with a lower rating are dropped.
        drop_missing: Bool, whether events with a missing value are dropped.
        time_unit: Of timestamps that are numbers; see `Clock`.
        where: Says where a row of the source is, beside its number; or nothing.

    Attributes:
        users: The user ids of all events, also of those that are dropped.
        items: The item ids, likewise.
        columns: Of the kept events: `users` and `items`, int32 codes of the ids;
            `positions`, int64 source rows; `values`, float64, unless each event counts
            1; `timestamps`, int64 seconds since 1970, if there are any, and
            `fractions`, int32 nanoseconds after these, unless all are 0.
        counts: How many events there were, and what was lost.
    """

    def __init__(
        self,
        min_rating: float | None,
        drop_missing: bool = False,
        time_unit: str = "auto",
        where: Callable[[int], str] | None = None,
    ) -> None:
        self.min_rating = min_rating
        self.drop_missing = drop_missing
        self.users, self.items = IdEncoder("user", drop_missing), IdEncoder("item", drop_missing)
        self.columns = Columns()
        self.counts = {
            "events": 0,
            **({"events_lost_to_missing": 0} if drop_missing else {}),
            "events_lost_to_min_rating": 0,
            "events_lost_to_zero_value": 0,
        }
        self._clock = Clock(time_unit)
        self._where = where
        self._kept, self._has_fractions = 0, False

    def add(self, chunk: dict[str, Any]) -> None:
        """Checks a chunk and keeps the events that count."""
        start, size = self.counts["events"], len(_codes(chunk["users"]))
        self.counts["events"] += size
        if self.min_rating is not None and "ratings" not in chunk:
            raise ValueError(
                f"`min_rating`={self.min_rating} needs ratings: name the rating "
                "column, or leave `min_rating` out."
            )
        source = self._present(chunk, start, size)

        def at(row: int) -> str:
            number = start + int(source[row])
            where = "" if self._where is None else self._where(number)
            return row_at(number) + (f" ({where})" if where else "")

        users = self.users.encode(chunk["users"], at)
        items = self.items.encode(chunk["items"], at)
        kept = {}
        rows = np.arange(len(users))
        if "ratings" in chunk:
            ratings = _numbers(chunk["ratings"], "ratings", at)
            if self.min_rating is None:
                raise ValueError(_RATINGS_ALONE)
            rows = np.flatnonzero(ratings >= self.min_rating)
            self.counts["events_lost_to_min_rating"] += len(ratings) - len(rows)
        if "values" in chunk:
            values = _numbers(chunk["values"], "values", at)
            check_values(values, at)
            positive = rows[values[rows] > 0]
            self.counts["events_lost_to_zero_value"] += len(rows) - len(positive)
            rows = positive
            kept["values"] = values[rows].astype("float64")
        if "timestamps" in chunk:
            kept |= self._times(chunk["timestamps"], rows, at)
        kept |= {"users": users[rows], "items": items[rows]}
        self.columns.append(kept | {"positions": start + source[rows]})
        self._kept += len(rows)

    def _present(self, chunk: dict[str, Any], start: int, size: int) -> np.ndarray:
        """The rows of a chunk, which is left without those that miss something."""
        rows = np.arange(size)
        if not self.drop_missing:
            return rows
        gaps = [gap for gap in map(missing_of, chunk.values()) if gap is not None]
        if not gaps:
            return rows
        rows = np.flatnonzero(~np.logical_or.reduce(gaps))
        self.counts["events_lost_to_missing"] += size - len(rows)
        for name, column in chunk.items():
            if isinstance(column, CodedIds):
                # Ids of dropped rows alone say nothing about what ids there are.
                used, codes = np.unique(column.codes[rows], return_inverse=True)
                chunk[name] = CodedIds(codes.astype("int32"), column.ids[used])
            elif isinstance(column, list):
                chunk[name] = [column[row] for row in rows]
            else:
                chunk[name] = column[rows]
        return rows

    def _times(
        self, column: Column, rows: np.ndarray, at: Callable[[int], str]
    ) -> dict[str, np.ndarray]:
        gaps = missing(column)
        if gaps is not None:
            raise _missing_numbers(column, gaps, "timestamps", at)
        seconds, fractions = self._clock.times(column, at)
        if fractions is not None and not self._has_fractions:
            # Till now there were none to keep.
            for done in range(0, self._kept, CHUNK):
                zeros = np.zeros(min(CHUNK, self._kept - done), "int32")
                self.columns.append({"fractions": zeros})
            self._has_fractions = True
        if not self._has_fractions:
            return {"timestamps": seconds[rows]}
        if fractions is None:
            fractions = np.zeros(len(seconds), "int32")
        return {"timestamps": seconds[rows], "fractions": fractions[rows]}


def _codes(column: Column) -> Any:
    return column.codes if isinstance(column, CodedIds) else column


def check_values(values: np.ndarray, at: Callable[[int], str] = row_at) -> None:
    """Raises ValueError at the first value that is negative, or that is no amount."""
    good = in_range(values)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            "Values must be finite and >= 0, and from "
            f"{SMALLEST:g} to {LARGEST:g} if they are not 0 (they are how much an "
            f"event counts). Received {values[row]} at {at(row)}."
        )


def checked_weights(weights: object, num_users: int, name: str) -> np.ndarray:
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


def _missing_numbers(
    column: Column, gaps: np.ndarray, name: str, at: Callable[[int], str]
) -> ValueError:
    row = int(np.argmax(gaps))
    return ValueError(
        f"`{name}` must be numbers{' or times' * (name == 'timestamps')}. Received "
        f"{column[row]!r} at {at(row)} ({int(gaps.sum())} such rows among the "
        f"{len(gaps)} that were read with it): drop or mend them; rows in which "
        "something is missing go with drop_missing=True, --drop-missing."
    )


def _numbers(column: Column, name: str, at: Callable[[int], str]) -> np.ndarray:
    array = column
    if array.dtype.kind not in "iuf":
        # Objects may be numbers all the same (None among them becomes NaN).
        parsed = [_number(value) for value in array.tolist()]
        array = np.array(parsed, "float64")
    bad = np.isnan(array)
    if bad.any():
        raise _missing_numbers(column, bad, name, at)
    return array


def _number(value: Any) -> float:
    try:
        # Text is not parsed: a rating column of strings is a mistake upstream.
        return float("nan") if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError):
        return float("nan")
