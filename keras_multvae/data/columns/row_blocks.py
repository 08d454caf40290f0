"""Processing a matrix by blocks of rows; private.

So a matrix can be on disk, and results go to disk if they are long. A matrix in memory
is a single block, and its results stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from keras_multvae.data.columns.csr import csr_over, order_within_rows, row_ends
from keras_multvae.data.columns.mapped import is_mapped, piece, take_all
from keras_multvae.data.columns.spilled import Columns, cuts

# `indices` and `values` and, if there are any, `positions` and `timestamps`.
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Part:
    """All entries of a block of users, in memory.

    Args:
        start: Int, the number of entries before this block.
        indptr: (users + 1,) ints from 0, as of a CSR matrix.
        arrays: (entries,) each.
    """

    start: int
    indptr: np.ndarray
    arrays: Arrays

    @property
    def file_order(self) -> np.ndarray:
        """(entries,) sort keys for the order in the file."""
        if "positions" in self.arrays:
            return self.arrays["positions"]
        return np.arange(self.start, self.start + len(self.arrays["indices"]))

    def sizes(self, keep: np.ndarray) -> np.ndarray:
        """(users,) the number of entries of each user that a mask keeps."""
        return np.diff(np.append(0, np.cumsum(keep))[self.indptr])


def parts_of(indptr: np.ndarray, arrays: Arrays) -> Iterator[Part]:
    """A matrix as blocks of rows, at least one."""
    for first, last in _runs(indptr, arrays):
        start, end = int(indptr[first]), int(indptr[last])
        yield Part(
            start,
            indptr[first : last + 1] - start,
            {name: piece(array, start, end) for name, array in arrays.items()},
        )


def checked_rows(indices: object, num_rows: int) -> np.ndarray:
    """Indices as an array, or IndexError unless they are ints in 0..num_rows-1."""
    indices = np.asarray(indices)
    if indices.size == 0:
        indices = indices.astype("int64")
    if (
        indices.dtype.kind not in "iu"
        or not ((indices >= 0) & (indices < num_rows)).all()
    ):
        raise IndexError(
            f"User indices must be ints in 0..{num_rows - 1}. Received: {indices!r}."
        )
    return indices


def select_rows(
    indptr: np.ndarray, arrays: Arrays, rows: np.ndarray
) -> tuple[np.ndarray, Arrays]:
    """The `indptr` and arrays of some rows, in the given order."""
    starts = indptr[rows].astype("int64")
    sizes = indptr[rows + 1] - starts
    ends = row_ends(sizes)
    columns = _columns(arrays)
    for first, last in _runs(ends, arrays):
        run = slice(first, last)
        columns.append(take_all(arrays, starts[run], sizes[run]))
    return ends, columns.finished()


def select_entries(
    indptr: np.ndarray, arrays: Arrays, mask: np.ndarray
) -> tuple[np.ndarray, Arrays]:
    """The `indptr` and the arrays of the entries where the mask is True."""

    def kept(part: Part) -> tuple[np.ndarray, Arrays]:
        keep = mask[part.start : part.start + int(part.indptr[-1])]
        return part.sizes(keep), {n: a[keep] for n, a in part.arrays.items()}

    return _joined(map(kept, parts_of(indptr, arrays)), arrays)


def renumber_columns(
    indptr: np.ndarray, arrays: Arrays, number: np.ndarray
) -> tuple[np.ndarray, Arrays]:
    """The `indptr` and the arrays over other columns, sorted within each row.

    Args:
        indptr: Of the matrix.
        arrays: Of its entries.
        number: (columns,) the new number of each column; below 0 it is dropped.
    """

    def renumbered(part: Part) -> tuple[np.ndarray, Arrays]:
        indices = number[part.arrays["indices"]]
        sizes = part.sizes(indices >= 0)
        source = np.flatnonzero(indices >= 0)
        source = source[order_within_rows(row_ends(sizes), indices[source])]
        changed = part.arrays | {"indices": indices}
        return sizes, {n: a[source] for n, a in changed.items()}

    return _joined(map(renumbered, parts_of(indptr, arrays)), arrays)


def largest_of(
    matrices: Sequence[tuple[np.ndarray, Arrays]],
    rows: Sequence[np.ndarray],
    num_columns: int,
) -> tuple[np.ndarray, Arrays]:
    """The `indptr` and arrays of the elementwise maximum of matrices.

    The rows of each matrix may be a subset of the rows of the result.

    Args:
        matrices: The `indptr`, and `indices` and `values`, of each.
        rows: For each matrix (users,) ints: the row of each user, or -1.
        num_columns: The number of columns of all matrices.
    """
    starts, sizes = [], []
    for (indptr, _), row in zip(matrices, rows, strict=True):
        starts.append(indptr[row].astype("int64"))
        sizes.append(np.where(row < 0, 0, indptr[row + 1] - starts[-1]))
    on_disk = [arrays for _, arrays in matrices if is_mapped(arrays["indices"])]
    source = (on_disk or [matrices[0][1]])[0]

    def laid_over(run: slice) -> tuple[np.ndarray, Arrays]:
        total: Any = None
        for (_, arrays), start, size in zip(matrices, starts, sizes, strict=True):
            taken = take_all(arrays, start[run], size[run])
            shape = (len(size[run]), num_columns)
            ends = row_ends(size[run])
            matrix = csr_over(taken["values"], taken["indices"], ends, shape)
            total = matrix if total is None else total.maximum(matrix)
        return np.diff(total.indptr), {"indices": total.indices, "values": total.data}

    runs = _runs(row_ends(np.sum(sizes, axis=0)), source)
    return _joined((laid_over(slice(*run)) for run in runs), source)


def _joined(
    parts: Iterable[tuple[np.ndarray, Arrays]], source: Arrays
) -> tuple[np.ndarray, Arrays]:
    """Joins blocks of a matrix made from `source`: its `indptr` and arrays.

    Args:
        parts: For each block the row lengths and the arrays.
        source: The source matrix; if it is on disk, the result may be.
    """
    sizes, columns = [], _columns(source)
    for size, arrays in parts:
        sizes.append(size)
        columns.append(arrays)
    return row_ends(np.concatenate(sizes)), columns.finished()


def _runs(indptr: np.ndarray, source: Arrays) -> Iterator[tuple[int, int]]:
    """Yields the bounds of blocks of rows; one block for a matrix in memory."""
    on_disk = is_mapped(source["indices"])
    return pairwise(cuts(indptr) if on_disk else [0, len(indptr) - 1])


def _columns(source: Arrays) -> Columns:
    """Columns for a result, on disk only if the source is."""
    return Columns(stay_in_memory=not is_mapped(source["indices"]))
