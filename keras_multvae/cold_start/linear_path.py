"""Rows and columns of a linear path for items that it was not fitted to."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.baselines.sparse_ease import largest_entries
from keras_multvae.features.feature import Matrix
from keras_multvae.features.rows import shares, unit_rows

# Items that stand in for a new one.
NEIGHBOURS = 20
# Known items by which it is found how much the neighbours' rows are worth.
MAX_JUDGED = 1000
# Items that are compared at a time.
BLOCK = 500


def neighbours(
    design: Matrix, of: Matrix, weights: np.ndarray, own: np.ndarray | None = None
) -> sparse.csr_matrix:
    """The items that are nearest by features, CSR (new, known), rows that add up to 1.

    Args:
        design: Features of the known items, (known, width).
        of: Features of the new items, (new, width).
        weights: (known,), how well each is known: cosines are multiplied by these.
        own: Optional (new,), the place of each among the known, which is not its
            neighbour.
    """
    known, new = unit_rows(design), unit_rows(of)
    rows, columns, values = [], [], []
    count = min(NEIGHBOURS, known.shape[0])
    for start in range(0, new.shape[0], BLOCK):
        cosines = new[start : start + BLOCK] @ known.T
        cosines = cosines.toarray() if sparse.issparse(cosines) else cosines
        cosines = np.maximum(cosines, 0) * weights
        if own is not None:
            places = own[start : start + BLOCK]
            cosines[np.arange(len(places)), places] = 0
        best = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        rows.append(np.repeat(np.arange(len(cosines)) + start, count))
        columns.append(best.ravel())
        values.append(np.take_along_axis(cosines, best, axis=1).ravel())
    if not rows:
        return sparse.csr_matrix((0, known.shape[0]))
    pairs = (np.concatenate(rows), np.concatenate(columns))
    shape = (new.shape[0], known.shape[0])
    found = sparse.csr_matrix((np.concatenate(values), pairs), shape=shape)
    found.eliminate_zeros()
    return shares(found)


def worth(path: sparse.csr_matrix, design: Matrix, weights: np.ndarray) -> float:
    """What to multiply neighbours' columns by, as least squares have it, from 0 to 1.

    Known items stand for new ones: each is predicted from its neighbours' columns.
    """
    step = -(-path.shape[0] // MAX_JUDGED)
    judged = np.arange(0, path.shape[0], step)
    near = neighbours(design, design[judged], weights, judged)
    predicted = near @ path.T.tocsr()
    true = path.T.tocsr()[judged]
    square = predicted.multiply(predicted).sum()
    if not square:
        return 0.0
    return float(np.clip(predicted.multiply(true).sum() / square, 0, 1))


def grown(path: sparse.csr_matrix, near: sparse.csr_matrix, factor: float) -> (
    sparse.csr_matrix
):  # fmt: skip
    """The path with rows and columns of new items at the end.

    Args:
        path: B, CSR (known, known).
        near: See `neighbours`, (new, known).
        factor: See `worth`.
    """
    columns = _cut(sparse.csr_matrix(factor * (path @ near.T)).T.tocsr(), path).T
    rows = _cut(sparse.csr_matrix(factor * (near @ path)), path)
    new = near.shape[0]
    found = sparse.block_array(
        [[path, columns], [rows, sparse.csr_matrix((new, new))]], format="csr"
    )
    return sparse.csr_matrix(found)


def _cut(rows: sparse.csr_matrix, path: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows with no more entries than an item of the path has on average."""
    most = max(round(path.nnz / max(path.shape[0], 1)), 1)
    return largest_entries(rows, np.abs(rows.data), most)
