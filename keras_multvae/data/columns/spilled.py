"""Columns that spill to disk when they grow too long for memory; private.

The files have no name, so the system removes them with the last array that is mapped
from them, even if the process is killed.
"""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from keras_multvae.data.columns.mapped import keep_open, piece

# The number of rows up to which columns stay in memory, and the size of blocks of
# longer ones. Sorting takes about 60 bytes for each row.
LIMIT, RUN = 1 << 24, 1 << 22

_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def spilling_into(folder: Path) -> Iterator[None]:
    """A context in which columns spill to this folder.

    The system's folder for temporary files may be too small, or in memory.
    """
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


class Columns:
    """Named columns of equal length that grow by appending.

    Args:
        stay_in_memory: Bool, whether never to spill to disk.
    """

    def __init__(self, stay_in_memory: bool = False) -> None:
        self._limit = math.inf if stay_in_memory else LIMIT
        self._columns: dict[str, _Column] = {}

    def append(self, rows: dict[str, np.ndarray]) -> None:
        """Appends rows; names and dtypes must be the same at every call."""
        for name, array in rows.items():
            column = self._columns.setdefault(name, _Column(array.dtype, self._limit))
            column.append(array)

    def finished(self) -> dict[str, np.ndarray]:
        """The arrays, in memory or mapped. Call it once."""
        columns, self._columns = self._columns, {}
        # One by one, as joining needs the memory of a column twice.
        return {name: columns.pop(name).finished() for name in list(columns)}


class _Column:
    def __init__(self, dtype: np.dtype, limit: float) -> None:
        self._dtype = dtype
        self._limit = limit
        self._pieces: list[np.ndarray] = []
        self._file: SpillFile | None = None
        self._length = 0

    def append(self, array: np.ndarray) -> None:
        start, self._length = self._length, self._length + len(array)
        if self._length <= self._limit:
            self._pieces.append(array)
            return
        if self._file is None:
            self._file = SpillFile(self._dtype)
            start = 0
        for part in (*self._pieces, array):
            self._file.write(start, part)
            start += len(part)
        self._pieces.clear()

    def finished(self) -> np.ndarray:
        if self._file is not None:
            return self._file.mapped()
        return self._pieces[0] if len(self._pieces) == 1 else _joined(self._pieces)


class SpillFile:
    """An array in a file without a name, written in any order."""

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype = dtype
        folder = _folder.get()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._name = folder or tempfile.gettempdir()
        self._file: BinaryIO = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def write(self, start: int, part: np.ndarray) -> None:
        """Puts `part` at the elements from `start` on."""
        rest = np.ascontiguousarray(part, self._dtype).data.cast("B")
        try:
            self._file.seek(start * self._dtype.itemsize)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                error.errno,
                f"{os.strerror(error.errno)}: data larger than memory need room for "
                "temporary files, about 70 bytes an event. Free some there, or write "
                "to another disk (in Python, set TMPDIR)",
                str(self._name),
            ) from None

    def mapped(self) -> np.ndarray:
        """The array, read-only."""
        return keep_open(np.memmap(self._file, self._dtype, mode="r"), self._file, 0)


def pieces(
    columns: dict[str, np.ndarray], starts: Sequence[int] | np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the rows from each of the ascending `starts` to the next."""
    for start, end in pairwise(starts):
        yield {name: piece(a, int(start), int(end)) for name, a in columns.items()}


def cuts(indptr: np.ndarray) -> list[int]:
    """Bounds of blocks of users with at most `RUN` entries.

    A user with more entries is a block of its own. If there are at most `LIMIT`
    entries, all users are one block.

    Args:
        indptr: (users + 1,) ints, the entries of user u are from `indptr[u]` to
            `indptr[u + 1]`.

    Returns:
        The first user of each block, then the number of users.
    """
    users = len(indptr) - 1
    if indptr[-1] <= LIMIT:
        return [0, users]
    bounds = [0]
    while bounds[-1] < users:
        last = int(indptr[bounds[-1]]) + RUN
        end = int(np.searchsorted(indptr, last, side="right")) - 1
        bounds.append(min(max(end, bounds[-1] + 1), users))
    return bounds


def _joined(chunks: list[np.ndarray]) -> np.ndarray:
    joined = np.concatenate(chunks)
    chunks.clear()
    return joined
