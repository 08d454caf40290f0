"""Converts matrices of any form to the one form that the package reads."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.data.columns.csr import LARGEST, SMALLEST, in_range, without_zeros
from keras_multvae.data.columns.mapped import is_mapped, slices
from keras_multvae.data.interactions import Interactions
from keras_multvae.data.splits.base import FoldIn
from keras_multvae.typing import Clicks

EXPECTED = (
    "Interactions, a FoldIn, a SciPy sparse matrix or a dense array (users, items)"
)


def as_csr(rows: object, name: str, num_items: int | None = None) -> sparse.csr_matrix:
    """Rows of clicks or counts as CSR: sorted, repeated entries added up, no zeros.

    A matrix in that form is returned as it is; the argument is never changed.

    Args:
        rows: `Interactions`, a `FoldIn` (its input counts), a SciPy sparse matrix or
            array of any format, or a dense array (users, items).
        name: What the argument is called.
        num_items: Optional int, the required number of columns.

    Raises:
        TypeError: None of these.
        ValueError: Another shape, or values that are negative, infinite or NaN.

    Example:

    >>> twice = sparse.csr_matrix(([1.0, 2, 0], [1, 1, 0], [0, 3]), shape=(1, 3))
    >>> as_csr(twice, "histories").toarray(), twice.nnz
    (array([[0., 3., 0.]], dtype=float32), 3)
    """
    return as_clicks(rows, name, num_items)[0]


def as_clicks(
    rows: Clicks, name: str, num_items: int | None = None
) -> tuple[sparse.csr_matrix, bool]:
    """`as_csr`, and whether all values are 1."""
    given = type(rows).__name__
    rows = rows.input if isinstance(rows, FoldIn) else rows
    rows = rows.matrix if isinstance(rows, Interactions) else rows
    if not sparse.issparse(rows):
        rows = _dense(rows, name, given)
    if len(rows.shape) != 2 or num_items not in (None, rows.shape[1]):
        wanted = "items" if num_items is None else num_items
        raise ValueError(
            f"`{name}` must have one row a user and one column an item, (users, "
            f"{wanted}). Received: {given} of shape {tuple(rows.shape)}."
        )
    if rows.dtype.kind not in "biuf":
        raise _no_matrix(name, f"{given} of {rows.dtype}")
    if not isinstance(rows, sparse.csr_matrix):
        # This sums repeated entries of a COO matrix only; bools and small ints could
        # not hold the sum.
        wide = rows if rows.dtype.kind == "f" else rows.astype("float32")
        rows = sparse.csr_matrix(wide)
    zeros, binary = _checked(rows.data, name)
    # Memory-mapped matrices were written by us, in order; a check would read them all.
    mapped = is_mapped(rows.indices)
    if not mapped:
        _check_indices(rows, name)
    if zeros or not (mapped or rows.has_canonical_format):
        rows = without_zeros(rows)
        binary = _checked(rows.data, name)[1]
    return rows, binary


def is_matrix(rows: object) -> bool:
    """Whether an argument is a matrix in any form but a dense array."""
    return sparse.issparse(rows) or isinstance(rows, Interactions | FoldIn)


def check_dense(rows: np.ndarray, name: str) -> bool:
    """Checks the values of a dense array; returns whether all are 0 or 1."""
    if rows.dtype.kind not in "biuf":
        raise _no_matrix(name, f"{type(rows).__name__} of {rows.dtype}")
    _checked(rows.ravel(), name)
    return bool(((rows == 0) | (rows == 1)).all())


def weights_of_users(clicks: np.ndarray, exponent: float) -> np.ndarray:
    """n^-exponent of users with n >= 1 clicks, scaled to a mean of 1: (users,)."""
    weights: np.ndarray = np.asarray(clicks, "float64") ** -exponent
    return weights / weights.mean()


def same_entries(a: sparse.csr_matrix, b: sparse.csr_matrix) -> bool:
    """Whether two matrices of `as_csr` are equal."""
    if a is b:
        return True
    if a.shape != b.shape or not np.array_equal(a.indptr, b.indptr):
        return False
    pairs = ((a.indices, b.indices), (a.data, b.data))
    return all(
        np.array_equal(*parts)
        for pair in pairs
        for parts in zip(*map(slices, pair), strict=True)
    )


def _check_indices(rows: sparse.csr_matrix, name: str) -> None:
    """Checks for indices out of range, which SciPy accepts."""
    columns, last = rows.indices, rows.shape[1] - 1
    if columns.size and not (columns.min() >= 0 and columns.max() <= last):
        raise ValueError(
            f"The column indices of `{name}` must be in 0..{last}. Received: "
            f"{columns.min()}..{columns.max()}."
        )


def _dense(rows: object, name: str, given: str) -> np.ndarray:
    """A dense array from anything that NumPy converts."""
    if isinstance(rows, str | dict) or not hasattr(rows, "shape"):
        raise _no_matrix(name, given)
    array: np.ndarray = np.asarray(rows)
    return array


def _no_matrix(name: str, given: str) -> TypeError:
    """The error for an argument that is no matrix."""
    return TypeError(f"`{name}` must be {EXPECTED} of numbers. Received: {given}.")


def _checked(values: np.ndarray, name: str) -> tuple[bool, bool]:
    """Whether there are zeros among the values, and whether they are all 1."""
    zeros, binary = False, True
    for part in slices(values):
        if part.size and part.min() >= SMALLEST and part.max() <= LARGEST:
            binary = binary and bool((part == 1).all())
            continue
        good = in_range(part)
        if not good.all():
            raise ValueError(
                f"The values of `{name}` must be finite and >= 0; found "
                f"{part[~good][0]}. Those above 0 must be from {SMALLEST:g} to "
                f"{LARGEST:g}."
            )
        zeros = zeros or not part.all()
        binary = binary and bool((part == 1).all())
    return zeros, binary
