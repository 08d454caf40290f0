"""EASE: the linear item-item model with a closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.baselines.base import Baseline

# Columns handled at a time where a step would otherwise need a second matrix.
BLOCK = 1024


class EASE(Baseline):
    """Embarrassingly Shallow Autoencoder: scores are `x B`, B by linear algebra.

    B minimises `||X - X B||^2 + l2 ||B||^2` with a diagonal of zeros: with
    `P = (X^T X + l2 I)^-1`, `B_ij = -P_ij / P_jj` off the diagonal. It is computed in
    place in one float32 matrix (num_items, num_items): 41,000 items take 6.7 GB, and
    the time grows with the cube of the items.

    Args:
        num_items: Int, size of the catalogue.
        l2: Float > 0, lambda; from some tens on sparse data to about 1,000 on dense.
            Choose it on validation users.

    Example:

    >>> clicks = sparse.csr_matrix([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    >>> model = EASE(3, l2=1.0).fit(clicks)
    >>> scores = model.score(sparse.csr_matrix([[1, 0, 0]]))
    >>> int(scores.argmax()), round(float(scores.max()), 3)
    (1, 0.667)

    References:
        - [Steck, 2019](https://arxiv.org/abs/1905.03375)
    """

    def __init__(self, num_items: int, l2: float = 500.0) -> None:
        super().__init__(num_items)
        self.l2 = checks.number("l2", l2, above=0)
        self.weights: np.ndarray | None = None

    def fit(self, interactions: Any) -> EASE:
        """Computes B, float32 (num_items, num_items).

        Args:
            interactions: `Interactions`, or a SciPy or dense matrix (users, items).

        Returns:
            The model itself.

        Raises:
            ValueError: Another number of items, or `l2` too small for float32.
        """
        matrix = self._matrix(interactions)
        self.weights = None  # frees the matrix of an earlier fit before the next one
        weights = _gram(matrix.astype("float32", copy=False))
        diagonal = np.einsum("ii->i", weights)
        diagonal += self.l2
        _invert(weights)
        # B_ij = -P_ij / P_jj
        weights /= -diagonal.copy()
        diagonal[:] = 0
        self.weights = weights
        return self

    def score(self, histories: Any, batch_size: int = 500) -> np.ndarray:
        """`x B` for histories (users, num_items), seen items unmasked.

        Args:
            histories: Clicks or counts, as `fit` takes them.
            batch_size: Not used; the caller's rows are one batch.

        Returns:
            float32 (users, num_items).

        Raises:
            ValueError: The model is not fitted.
        """
        rows = self._matrix(histories, "histories").astype("float32", copy=False)
        return np.asarray(rows @ self._fitted(self.weights))

    def _arrays(self) -> dict[str, Any]:
        return {"weights": self._fitted(self.weights), "l2": self.l2}

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> EASE:
        weights = arrays["weights"]
        model = cls(len(weights), float(arrays["l2"]))
        model.weights = weights
        return model


def _gram(matrix: sparse.csr_matrix) -> np.ndarray:
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
    wide = block.astype("float64")
    try:
        np.linalg.cholesky(wide)
    except np.linalg.LinAlgError:
        raise ValueError(
            "X^T X + l2 I is not positive definite in float32: choose a larger `l2`."
        ) from None
    return np.linalg.inv(wide).astype("float32")
