"""Index arithmetic of CSR matrices by counting sorts; private."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.typing import Clicks

# The range of values other than 0: squares and sums over all users fit float32.
SMALLEST, LARGEST = 1e-12, 1e12


def in_range(values: np.ndarray) -> np.ndarray:
    """Where values are 0 or from `SMALLEST` to `LARGEST`; NaN is neither."""
    return (values == 0) | ((values >= SMALLEST) & (values <= LARGEST))


def runs(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The indices `start ... start + size - 1` of each pair, concatenated."""
    shifts = starts - (np.cumsum(sizes) - sizes)
    return np.arange(sizes.sum()) + np.repeat(shifts, sizes)


def rows_of(indptr: np.ndarray) -> np.ndarray:
    """The row of each entry."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def csr_over(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_matrix:
    """A CSR matrix over the very arrays given, sorted and without duplicates.

    SciPy's constructor would read memory-mapped indices in whole and, from 2**31
    entries on, copy them to int64; and its check for sorted indices reads them again.
    """
    matrix = sparse.csr_matrix(shape, dtype=data.dtype)
    matrix.data = data
    matrix.indices = indices
    # SciPy's routines need both index arrays of one dtype.
    fits = indptr[-1] <= np.iinfo(indices.dtype).max
    matrix.indptr = indptr.astype(indices.dtype if fits else "int64", copy=False)
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix


def without_zeros(matrix: Clicks) -> sparse.csr_matrix:
    """A float32 copy in CSR form: sorted, repeated entries added up, no zeros.

    Raises:
        TypeError: Not a SciPy sparse matrix.
    """
    if not sparse.issparse(matrix):
        raise TypeError(
            "Expected a SciPy sparse matrix (users, items). Received: "
            f"{type(matrix).__name__}. Wrap a dense array in "
            "scipy.sparse.csr_matrix()."
        )
    matrix = sparse.csr_matrix(matrix, dtype="float32", copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return csr_over(matrix.data, matrix.indices, matrix.indptr, matrix.shape)


def check_parts(
    matrix: Clicks, shape: tuple[int, int], arrays: dict[str, np.ndarray | None]
) -> None:
    """Raises an error for a bad matrix or bad arrays beside its entries.

    Args:
        matrix: A CSR matrix, to be checked.
        shape: The required shape, by the vocabularies.
        arrays: Arrays (entries,) by name, or None.
    """
    if not sparse.issparse(matrix) or matrix.format != "csr":
        raise TypeError(
            "`matrix` must be a SciPy CSR matrix. Received: "
            f"{type(matrix).__name__}. Use Interactions.from_matrix()."
        )
    if matrix.shape != shape:
        raise ValueError(
            f"The matrix must have shape (users, items) = {shape}, the sizes of the "
            f"vocabularies. Received: {matrix.shape}."
        )
    for name, array in arrays.items():
        if array is not None and array.shape != matrix.data.shape:
            raise ValueError(
                f"`{name}` must have one number an entry, {matrix.data.shape}. "
                f"Received: shape {array.shape}."
            )


def row_ends(sizes: np.ndarray) -> np.ndarray:
    """The int64 `indptr` of rows of the given sizes."""
    return np.append(0, np.cumsum(sizes, dtype="int64"))


def order_by(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """The stable order of entries by (row, column), ten times faster than a sort.

    Args:
        rows: (entries,) ints in 0..shape[0]-1.
        columns: (entries,) ints in 0..shape[1]-1.
        shape: Rows and columns.

    Returns:
        (entries,) ints that put the entries in order.
    """
    by_column = _counting_order(columns, shape[1])
    return by_column[_counting_order(rows[by_column], shape[0])]


def order_within_rows(indptr: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The order of entries by column within each row; no column twice in a row."""
    index = _index_dtype(len(columns))
    matrix = csr_over(
        np.arange(len(columns), dtype=index),
        columns.astype(index),
        indptr.astype(index),
        (len(indptr) - 1, int(columns.max(initial=-1)) + 1),
    )
    matrix.has_sorted_indices = False
    matrix.sort_indices()
    return matrix.data


class FirstAppearances:
    """Numbers codes in the order of their first appearance, from several blocks.

    Args:
        num_codes: Int, codes are in 0..num_codes-1.
    """

    def __init__(self, num_codes: int) -> None:
        self._unset = np.iinfo("int64").max
        self._first = np.full(num_codes, self._unset)

    def add(self, codes: np.ndarray, positions: np.ndarray) -> None:
        """Adds codes and their positions in the file, which are distinct."""
        np.minimum.at(self._first, codes, positions)

    def ordered(self) -> np.ndarray:
        """The codes that occur, in the order of their first appearance."""
        present = np.flatnonzero(self._first < self._unset)
        return present[np.argsort(self._first[present], kind="stable")]


def _counting_order(codes: np.ndarray, num_codes: int) -> np.ndarray:
    """`argsort(codes, kind="stable")`: a transposition counts instead of comparing."""
    index = _index_dtype(max(len(codes), num_codes))
    one_a_row = csr_over(
        np.ones(len(codes), "int8"),
        codes.astype(index, copy=False),
        np.arange(len(codes) + 1, dtype=index),
        (len(codes), num_codes),
    )
    return one_a_row.tocsc().indices


def _index_dtype(largest: int) -> type[np.signedinteger]:
    return np.int32 if largest <= np.iinfo("int32").max else np.int64
