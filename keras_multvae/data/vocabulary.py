"""The two-way map between raw ids and matrix indices."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Literal

import numpy as np

from keras_multvae import checks
from keras_multvae.data.columns.plain import plain
from keras_multvae.files import (
    DamagedFileError,
    read_format,
    write_json,
)
from keras_multvae.typing import Column, Id

FORMAT = "keras_multvae.vocabulary"
VERSION = 1
# The padding of lists of raw ids, by `Vocabulary.kind`.
PADDING: dict[str, Any] = {"int": -1, "str": ""}
# Ints as Python writes them, which equal the text of their value.
_CANONICAL = re.compile(r"0|-?[1-9][0-9]{0,18}")


class UnknownIdError(KeyError):
    """The vocabulary does not have these ids."""

    def __str__(self) -> str:
        # KeyError would show the repr of its argument, with quotes.
        return str(self.args[0])


class Vocabulary:
    """A frozen two-way map between raw ids and the indices 0..n-1.

    Args:
        ids: 1-D array or iterable of unique raw ids, all int or all str; their order
            gives the indices. NumPy, pandas and polars columns are taken as well.

    Raises:
        TypeError: Ids of mixed types, or neither int nor str (floats, NaN, None).
        ValueError: Duplicate ids, or ints that do not fit 64 bits.

    Example:

    >>> films = Vocabulary(["alien", "brazil", "clue"])
    >>> films.index(["clue", "alien"])
    array([2, 0])
    >>> films.ids[1]
    'brazil'
    """

    def __init__(self, ids: object) -> None:
        array = as_ids(ids)
        if not _all_unlike(array):
            (repeated, times), *_ = Counter(array.tolist()).most_common(1)
            raise ValueError(
                "The ids of a vocabulary must be unique. Received "
                f"{repeated!r} {times} times."
            )
        # A copy, so that no other code can change the frozen array.
        array = array.copy()
        array.flags.writeable = False
        self._ids = array

    @property
    def ids(self) -> np.ndarray:
        """(n,) read-only raw ids by index: int64, or object holding str."""
        return self._ids

    @property
    def kind(self) -> Literal["int", "str"]:
        """The type of the ids."""
        return "int" if _is_int(self._ids) else "str"

    def __len__(self) -> int:
        return len(self._ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self is other or (
            self.kind == other.kind and np.array_equal(self._ids, other._ids)
        )

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, raw_id: object) -> bool:
        return int(self.lookup([raw_id])[0]) >= 0

    def __repr__(self) -> str:
        first = ", ".join(repr(i) for i in self._ids[:3].tolist())
        more = ", ..." if len(self) > 3 else ""
        return f"Vocabulary({len(self)} {self.kind} ids: {first}{more})"

    @cached_property
    def _index(self) -> dict[Id, int]:
        return {raw_id: index for index, raw_id in enumerate(self._ids.tolist())}

    def lookup(self, ids: Iterable[object]) -> np.ndarray:
        """Finds the indices of raw ids, -1 for the unknown.

        Args:
            ids: 1-D array or iterable of raw ids. An id of another type than the
                vocabulary's is unknown: 7 is not "7", nor is 7.0 or True an id.

        Returns:
            (len(ids),) int64 indices.
        """
        find = self._index.get
        wanted = str if self.kind == "str" else (int, np.integer)
        found = [
            # A bool is an int in Python, and True == 1 would find item 1.
            find(raw_id, -1)
            if isinstance(raw_id, wanted) and not isinstance(raw_id, bool)
            else -1
            for raw_id in _as_list(ids)
        ]
        return np.array(found, "int64")

    def index(
        self, ids: Iterable[Id], on_unknown: Literal["raise", "skip"] = "raise"
    ) -> np.ndarray:
        """Finds the indices of raw ids.

        Args:
            ids: 1-D array or iterable of raw ids.
            on_unknown: "raise", or "skip" to leave unknown ids out.

        Returns:
            int64 indices, in the order of `ids`.

        Raises:
            UnknownIdError: An id is unknown and `on_unknown` is "raise".
            ValueError: `on_unknown` is neither.
        """
        checks.choice("on_unknown", on_unknown, ("raise", "skip"))
        ids = _as_list(ids)
        found = self.lookup(ids)
        if (found >= 0).all():
            return found
        if on_unknown == "skip":
            return found[found >= 0]
        unknown = [raw_id for raw_id, i in zip(ids, found, strict=True) if i < 0]
        raise UnknownIdError(self._describe(unknown))

    def from_text(self, texts: Iterable[Id]) -> list[Id]:
        """Converts ids that were read as text to the kind of this vocabulary.

        Args:
            texts: Raw ids from a text file, or of another kind.

        Returns:
            The ids, text as ints where the vocabulary holds ints and the text is an int
            as Python writes it. "007" is not 7, so it stays text, and unknown.

        Example:

        >>> Vocabulary([7, 8]).from_text(["7", "007", "x"])
        [7, '007', 'x']
        """
        ids = _as_list(texts)
        if self.kind == "str":
            return ids
        return [int(i) if isinstance(i, str) and is_int_text(i) else i for i in ids]

    def _describe(self, unknown: list[Id]) -> str:
        shown = ", ".join(repr(_plain(raw_id)) for raw_id in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        text = f"Unknown ids: {shown}{more}."
        kinds = {type(_plain(raw_id)).__name__ for raw_id in unknown} - {self.kind}
        if kinds:
            text += (
                f" The vocabulary holds ids of type {self.kind}; received "
                f"{', '.join(sorted(kinds))}: convert them first."
            )
        return (
            text + ' Leave unknown ids out with on_unknown="skip", --on-unknown skip.'
        )

    def take(self, indices: object) -> Vocabulary:
        """The vocabulary of the ids at `indices`, in that order."""
        return Vocabulary(self._ids[np.asarray(indices, "int64")])

    def extend(self, ids: object) -> Vocabulary:
        """The same ids, followed by the new ones among `ids`.

        Args:
            ids: 1-D array or iterable of unique raw ids of the same kind.

        Returns:
            A vocabulary in which every old id keeps its index.

        Example:

        >>> Vocabulary(["a", "c"]).extend(["b", "c"]).ids.tolist()
        ['a', 'c', 'b']
        """
        more = Vocabulary(ids).ids
        new = more[self.lookup(more) < 0]
        return Vocabulary([*self.ids.tolist(), *new.tolist()])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the vocabulary as JSON."""
        write_json(
            path,
            {
                "format": FORMAT,
                "version": VERSION,
                "kind": self.kind,
                "ids": self._ids.tolist(),
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Reads what `save` wrote.

        Args:
            path: The JSON file.

        Returns:
            The vocabulary.

        Raises:
            DamagedFileError: Missing, truncated, foreign or of a newer version.
        """
        content = read_format(path, FORMAT, VERSION)
        try:
            if not isinstance(content["ids"], list):
                raise TypeError("no list")
            vocabulary = cls(content["ids"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"The ids in {path} are damaged: {error}") from None
        # An empty vocabulary has no id to tell its kind.
        if len(vocabulary) and vocabulary.kind != content.get("kind"):
            raise DamagedFileError(
                f"{path} says that its ids are {content.get('kind')!r}; they are "
                f"{vocabulary.kind!r}."
            )
        return vocabulary


def as_vocabulary(ids: object, size: int) -> Vocabulary:
    """A vocabulary of ids, or of 0, 1, ... size - 1 if `ids` is None."""
    if ids is None:
        return Vocabulary(np.arange(size))
    return ids if isinstance(ids, Vocabulary) else Vocabulary(ids)


def is_int_text(text: str) -> bool:
    """Whether text is a 64-bit int whose text is the same."""
    return bool(_CANONICAL.fullmatch(text)) and -(2**63) <= int(text) < 2**63


def row_at(row: int) -> str:
    """Describes a row, for messages."""
    return f"row {row}"


def as_ids(ids: Column, at: Callable[[int], str] = row_at) -> np.ndarray:
    """Checks raw ids; returns an int64 array or an object array of str.

    `at` describes the row of an index, for messages.
    """
    if not isinstance(ids, np.ndarray | list):
        ids = plain(ids)
    if isinstance(ids, np.ndarray) and ids.ndim != 1:
        raise ValueError(f"Ids must be 1-D. Received: shape {ids.shape}.")
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        if ids.size and int(ids.max()) > np.iinfo("int64").max:
            raise ValueError(f"Ids must fit 64 bits with sign. Received: {ids.max()}.")
        return ids.astype("int64", copy=False)
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "UT":
        return ids.astype(object)
    # map() and set() loop in C, as columns of ids have many millions of rows.
    values = ids.tolist() if isinstance(ids, np.ndarray) else ids
    types = set(map(type, values))
    if types and all(issubclass(t, str) for t in types):
        array = np.empty(len(values), object)
        array[:] = values if types == {str} else [str(value) for value in values]
        return array
    if all(issubclass(t, int | np.integer) and t is not bool for t in types):
        try:
            return np.array(values, "int64")
        except OverflowError:
            largest = max(values, key=abs)
            raise ValueError(
                f"Ids must fit 64 bits with sign. Received: {largest}."
            ) from None
    raise TypeError(_mixed_types(values, at))


def _mixed_types(values: list[object], at: Callable[[int], str]) -> str:
    first = next((v for v in values if isinstance(v, str | int | np.integer)), None)
    kind: type | tuple[type, ...] = str if isinstance(first, str) else (int, np.integer)
    row, bad = next(
        (row, v)
        for row, v in enumerate(values)
        if not isinstance(v, kind) or isinstance(v, bool)
    )
    name = type(bad).__name__
    text = f"Ids must be all int or all str. Received {bad!r} ({name}) at {at(row)}"
    if isinstance(bad, str | int) and not isinstance(bad, bool):
        return f"{text} after {first!r}: convert the ids to one type."
    if bad is None or isinstance(bad, float):
        return (
            f"{text}: drop the rows with a missing id and convert the column to "
            "integers or strings."
        )
    return f"{text}: drop or convert such rows."


def _as_list(ids: Column) -> list[Id]:
    if isinstance(ids, str | bytes):
        raise TypeError(f"Ids must be a list or an array. Received one id: {ids!r}.")
    return list(ids.tolist() if isinstance(ids, np.ndarray) else ids)


def _plain(value: Any) -> Id:
    return value.item() if isinstance(value, np.generic) else value


def _all_unlike(array: np.ndarray) -> bool:
    """Whether a sorted or unsorted array has no value twice."""
    if not _is_int(array):
        return len(set(array)) == len(array)
    # Ids are mostly sorted; if not, sorting is faster than np.unique's hashing.
    if (array[1:] > array[:-1]).all():
        return True
    ordered = np.sort(array)
    return bool((ordered[1:] != ordered[:-1]).all())


def _is_int(array: np.ndarray) -> bool:
    return array.dtype.kind == "i"
