"""Ids of a column, checked and numbered as they come; private."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from keras_multvae.data.columns.plain import missing
from keras_multvae.data.vocabulary import as_ids
from keras_multvae.typing import Column


class CodedIds(NamedTuple):
    """A column of ids: int32 indices into its unique ids, and those.

    An index of -1 stands for a missing id.
    """

    codes: np.ndarray
    ids: np.ndarray


def encode(ids: np.ndarray) -> CodedIds:
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
            return CodedIds(table[shifted], present + low)
        unique, codes = np.unique(ids, return_inverse=True)
        return CodedIds(codes.astype("int32"), unique)
    # A dict is many times faster here than NumPy's sort of Python strings.
    names = sorted(set(ids))
    code = {name: index for index, name in enumerate(names)}
    codes = np.fromiter(map(code.__getitem__, ids), "int32", len(ids))
    return CodedIds(codes, as_ids(names))


class IdEncoder:
    """The different ids of a column, numbered as they come."""

    def __init__(self, what: str, whole_floats: bool = False) -> None:
        self.what = what
        # Ints come as floats where pandas found some missing, so only if those go.
        self._whole_floats = whole_floats
        self._ints = CodedIds(np.empty(0, "int32"), np.empty(0, "int64"))
        self._names: dict[str, int] = {}

    def encode(self, column: Column, at: Callable[[int], str]) -> np.ndarray:
        """The int32 numbers of a chunk's ids."""
        with blaming(self.what):
            gaps = missing_of(column)
            if gaps is not None:
                raise _missing_id(column, gaps, at)
            if not isinstance(column, CodedIds):
                if self._whole_floats:
                    column = _as_whole(column)
                column = encode(as_ids(column, at))
            ints = column.ids.dtype.kind == "i"
            self._check_kind(column, ints, at)
        number = self._number_ints if ints else self._number
        return number(column.ids)[column.codes]

    def _check_kind(
        self, column: CodedIds, ints: bool, at: Callable[[int], str]
    ) -> None:
        others: Any = self._names if ints else self._ints.ids
        if not len(column.codes) or not len(others):
            return
        bad, first = column.ids[column.codes[0]], next(iter(others))
        raise TypeError(
            f"Ids must be all int or all str. Received {_plain(bad)!r} "
            f"({'int' if ints else 'str'}) at {at(0)} after {_plain(first)!r}: convert "
            "the ids to one type."
        )

    def sorted(self, convert: Callable[[Any], np.ndarray]) -> CodedIds:
        """All ids, converted and sorted, and the place of each number among them."""
        ids: np.ndarray = np.empty(len(self._ints.ids), "int64")
        ids[self._ints.codes] = self._ints.ids
        if self._names:
            ids = np.array([*ids.tolist(), *self._names], object)
        with blaming(self.what):
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
            self._ints = CodedIds(codes, known)
            place += np.cumsum(fresh) - fresh
        return codes[place]


def missing_of(column: Column) -> np.ndarray | None:
    """Where a column of a chunk misses a value; None where it does nowhere."""
    if isinstance(column, CodedIds):
        return column.codes < 0 if column.codes.min(initial=0) < 0 else None
    return missing(column)


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Says of which column of ids an error is."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"Bad {what} ids. {error}") from None


def _missing_id(
    column: Column, gaps: np.ndarray, at: Callable[[int], str]
) -> TypeError:
    row = int(np.argmax(gaps))
    value = None if isinstance(column, CodedIds) else column[row]
    return TypeError(
        f"A missing id, {_plain(value)!r} at {at(row)}: drop the rows with a missing "
        "id (drop_missing=True, --drop-missing), or give them one."
    )


def _as_whole(column: Column) -> Any:
    """Whole floats as the ints that they were, if they are exact."""
    array = np.asarray(column) if isinstance(column, list) else column
    if array.dtype.kind == "O" and all(isinstance(v, float) for v in array.tolist()):
        array = array.astype("float64")
    if array.dtype.kind != "f" or not (
        (array == np.floor(array)).all() and (abs(array) < 2.0**53).all()
    ):
        return column
    return array.astype("int64")


def _plain(value: object) -> Any:
    return value.item() if isinstance(value, np.generic) else value
