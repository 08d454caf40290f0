"""EASE: the linear item-item model with a closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

from keras_multvae.baselines.base import stored
from keras_multvae.baselines.linear import LinearModel
from keras_multvae.memory import require_memory

# The number of columns in a block, for steps that would need a second matrix.
BLOCK = 1024


class EASE(LinearModel):
    """Embarrassingly Shallow Autoencoder: scores are `x B`, B by linear algebra.

    B minimises `sum_u w_u E |x_u - d(x_u) B|^2 + l2 |B|^2` with a diagonal of zeros,
    where d drops each click with probability p, the `dropout`, and scales the rest by
    1 / (1 - p), and `w_u` is n_u^-a, a the `user_weight` and n_u the items of a user,
    scaled to a mean of 1. With `G = X^T diag(w) X` and

        P = (G + l2 I + p / (1 - p) diag(G))^-1,

    `B_ij = -P_ij / P_jj` off the diagonal. p = 0 and a = 0, the defaults, are EASE as
    published. `tuned` chooses all three on validation users.

    B is computed in place in one float32 matrix (num_items, num_items): 41,000 items
    take 6.7 GB, and time grows with the cube of the items. Use `SparseEASE` for larger
    catalogues.

    Args:
        num_items: Int, size of the catalogue.
        l2: Float > 0, lambda; from some tens on sparse data to about 1,000 on dense.
            Choose it on validation users.
        dropout: Float in [0, 1), p.
        user_weight: Float >= 0, a.

    Example:

    >>> clicks = sparse.csr_matrix([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    >>> model = EASE(3, l2=1.0).fit(clicks)
    >>> scores = model.score(sparse.csr_matrix([[1, 0, 0]]))
    >>> int(scores.argmax()), round(float(scores.max()), 3)
    (1, 0.667)

    References:
        - [Steck, 2019](https://arxiv.org/abs/1905.03375)
        - Steck, 2020, Autoencoders that don't overfit towards the identity (NeurIPS):
          dropout in closed form. Weights of users are ours.
    """

    weights: np.ndarray | None

    def _products(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """X^T diag(w) X."""
        return gram_of(matrix)

    @classmethod
    def _check_memory(cls, num_items: int, matrices: int) -> None:
        """See `LinearModel`."""
        require_memory(
            4 * num_items**2 * matrices,
            f"EASE's weights between all pairs of {num_items:,} items"
            + (", twice while settings are tried," if matrices > 1 else ""),
            "Take SparseEASE(num_items, neighbours=200), LinearPath(neighbours=200) or "
            "--linear-neighbours 200, or leave out rare items (--k-core).",
        )

    def _solve(self, gram: np.ndarray) -> np.ndarray:
        """B from X^T diag(w) X, in place."""
        diagonal = np.einsum("ii->i", gram)
        diagonal *= 1 + self.dropout / (1 - self.dropout)
        diagonal += self.l2
        _invert(gram)
        # B_ij = -P_ij / P_jj
        gram /= -diagonal.copy()
        diagonal[:] = 0
        return gram

    def _largest(self, weights: np.ndarray, kept: int) -> sparse.csr_matrix:
        blocks = np.array_split(weights, -(-len(weights) // BLOCK))
        limit = _limit(blocks, kept)
        rows = [np.where(np.abs(block) >= limit, block, 0) for block in blocks]
        return sparse.vstack(list(map(sparse.csr_matrix, rows)), "csr", "float32")

    def _arrays(self) -> dict[str, Any]:
        return {"weights": self._fitted(self.weights), **self._settings()}

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> EASE:
        weights = stored(arrays, "weights", (None, None))
        weights = stored(arrays, "weights", (len(weights), len(weights)))
        model = cls(len(weights), **cls._settings_of(arrays))
        model.weights = weights
        return model


def _limit(blocks: list[np.ndarray], kept: int) -> float:
    """The absolute value that `kept` entries reach, found without a copy."""
    # Positive floats have the same order as the integers with their bits.
    bits = [
        lambda block=block: np.abs(block).view("uint32").ravel() for block in blocks
    ]
    counts = np.zeros(1 << 16, "int64")
    for each in bits:
        counts += np.bincount(each() >> 16, minlength=1 << 16)
    above = np.cumsum(counts[::-1])[::-1]
    tie = int(np.flatnonzero(above >= kept)[-1])
    within = np.concatenate([b[b >> 16 == tie] for b in (each() for each in bits)])
    place = kept - (above[tie] - counts[tie])
    limit = np.partition(within, len(within) - place)[len(within) - place]
    # Zeros are not stored.
    return float(max(limit.view("float32"), np.finfo("float32").tiny))


def gram_of(matrix: sparse.csr_matrix) -> np.ndarray:
    """X^T X, dense float32 (items, items)."""
    num_items = matrix.shape[1]
    gram = np.empty((num_items, num_items), "float32")
    transposed = matrix.T.tocsr()
    for start in range(0, num_items, BLOCK):
        part = slice(start, start + BLOCK)
        gram[part] = (transposed[part] @ matrix).toarray()
    return gram


def _invert(matrix: np.ndarray) -> None:
    """Inverts a symmetric positive definite matrix (n, n) in place.

    Blockwise Gauss-Jordan elimination of the upper triangle: the Cholesky routine of
    SciPy's LAPACK crashes at 41,000 rows. With the pivot block K and `D = A_KK^-1`, a
    step turns A_IJ into `A_IJ - A_IK D A_KJ`, A_KJ into `D A_KJ` and A_KK into -D;
    after the last block the matrix is -A^-1.
    """
    size = len(matrix)
    blocks = [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]
    for pivot in blocks:
        start = pivot.start
        panel = np.hstack([matrix[:start, pivot].T, matrix[pivot, start:]])
        inverse = _inverse_of_block(panel[:, pivot])
        scaled = inverse @ panel
        for rows in blocks:
            columns = slice(rows.start, size)
            matrix[rows, columns] -= panel[:, rows].T @ scaled[:, columns]
        matrix[:start, pivot] = scaled[:, :start].T
        matrix[pivot, start:] = scaled[:, start:]
        matrix[pivot, pivot] = -inverse
    for rows in blocks:
        after = slice(rows.stop, size)
        np.negative(matrix[rows, rows.start :], out=matrix[rows, rows.start :])
        matrix[after, rows] = matrix[rows, after].T


def _inverse_of_block(block: np.ndarray) -> np.ndarray:
    """The inverse of a block, which must be positive definite."""
    wide = block.astype("float64")
    try:
        np.linalg.cholesky(wide)
    except np.linalg.LinAlgError:
        raise ValueError(
            "X^T X + l2 I is not positive definite in float32: choose a larger `l2`."
        ) from None
    return np.linalg.inv(wide).astype("float32")
