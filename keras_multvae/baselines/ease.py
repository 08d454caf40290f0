"""EASE: the linear item-item model with a closed form."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.baselines import tuning
from keras_multvae.baselines.base import Baseline
from keras_multvae.data import Split

# Columns handled at a time where a step would otherwise need a second matrix.
BLOCK = 1024
# What `tuned` chooses by.
METRIC = "ndcg@100"


class EASE(Baseline):
    """Embarrassingly Shallow Autoencoder: scores are `x B`, B by linear algebra.

    B minimises `sum_u w_u E |x_u - d(x_u) B|^2 + l2 |B|^2` with a diagonal of zeros,
    where d drops each click with probability p, the `dropout`, and scales the rest by
    1 / (1 - p), and `w_u` is n_u^-a, a the `user_weight` and n_u the items of a user,
    scaled to a mean of 1. With `G = X^T diag(w) X` and

        P = (G + l2 I + p / (1 - p) diag(G))^-1,

    `B_ij = -P_ij / P_jj` off the diagonal. p = 0 and a = 0, the defaults, are EASE as
    published; p = .5 and a = .5 rank better on most data (docs/results.md). `tuned`
    chooses all three.

    B is computed in place in one float32 matrix (num_items, num_items): 41,000 items
    take 6.7 GB, and the time grows with the cube of the items. `SparseEASE` is for
    catalogues for which that is too much.

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

    def __init__(
        self,
        num_items: int,
        l2: float = 500.0,
        dropout: float = 0.0,
        user_weight: float = 0.0,
    ) -> None:
        super().__init__(num_items)
        self.l2 = checks.number("l2", l2, above=0)
        self.dropout = checks.share("dropout", dropout, "[0, 1)")
        self.user_weight = checks.number("user_weight", user_weight)
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
        self.weights = None  # frees the matrix of an earlier fit before the next one
        matrix = self._matrix(interactions)
        return self._solve(gram_of(weighted(matrix, self.user_weight)))

    @classmethod
    def tuned(cls, split: Split, seconds: float = math.inf) -> EASE:
        """The model whose settings are best in NDCG@100 of the validation users.

        `l2`, `dropout` and `user_weight` are changed one at a time, from 200, .5 and
        .5, as long as that helps: a dozen inversions. `X^T diag(w) X` is computed once
        for each `user_weight`, so a second matrix of that size is held.

        Args:
            split: Its training and its validation part.
            seconds: Float, after which no further settings are tried.

        Returns:
            The model, fitted to `split.train`.

        Raises:
            ValueError: No validation part.

        Example:

        >>> from keras_multvae.data import Interactions, strong_generalization
        >>> liked = np.random.default_rng(0).random((80, 12)) < 0.5
        >>> events = (axis.tolist() for axis in liked.nonzero())
        >>> clicks = Interactions.from_events(*events)
        >>> model = EASE.tuned(strong_generalization(clicks, 20, 0))
        >>> model.l2 > 0
        True
        """
        from keras_multvae.evaluation import evaluate_ranking

        validation = split.validation
        if validation is None:
            raise ValueError(
                "EASE.tuned() needs a split with a validation part. Received: "
                "validation=None."
            )
        grams: dict[float, np.ndarray] = {}
        end = time.monotonic() + seconds

        def fitted(point: tuning.Point) -> EASE:
            model = cls(split.train.num_items, *tuning.settings_at(point))
            weight = model.user_weight
            if weight not in grams:
                grams.clear()
                grams[weight] = gram_of(weighted(split.train.matrix, weight))
            return model._solve(grams[weight].copy())

        def value(point: tuning.Point) -> float:
            return evaluate_ranking(fitted(point), validation, [METRIC]).mean(METRIC)

        return fitted(tuning.climb(value, over=lambda: time.monotonic() > end))

    def _solve(self, gram: np.ndarray) -> EASE:
        """B from X^T diag(w) X, in its place."""
        diagonal = np.einsum("ii->i", gram)
        diagonal *= 1 + self.dropout / (1 - self.dropout)
        diagonal += self.l2
        _invert(gram)
        # B_ij = -P_ij / P_jj
        gram /= -diagonal.copy()
        diagonal[:] = 0
        self.weights = gram
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

    def cut(self, density: float) -> sparse.csr_matrix:
        """The entries of B that are largest in size, CSR (num_items, num_items).

        Args:
            density: Float in (0, 1], the share of all entries to keep.

        Raises:
            ValueError: The model is not fitted, or a density out of range.
        """
        return largest_entries(self._fitted(self.weights), density)

    def _arrays(self) -> dict[str, Any]:
        return {
            "weights": self._fitted(self.weights),
            "l2": self.l2,
            "dropout": self.dropout,
            "user_weight": self.user_weight,
        }

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> EASE:
        weights = arrays["weights"]
        # Files of before have `l2` alone.
        names = ("l2", "dropout", "user_weight")
        settings = {name: float(arrays[name]) for name in names if name in arrays}
        model = cls(len(weights), **settings)
        model.weights = weights
        return model


def largest_entries(weights: np.ndarray, density: float) -> sparse.csr_matrix:
    """The largest entries in size of a dense matrix, as CSR float32."""
    density = checks.share("density", density, "(0, 1]")
    blocks = np.array_split(weights, -(-len(weights) // BLOCK))
    limit = _limit(blocks, max(round(density * weights.size), 1))
    rows = [np.where(np.abs(block) >= limit, block, 0) for block in blocks]
    return sparse.vstack(list(map(sparse.csr_matrix, rows)), "csr", "float32")


def _limit(blocks: list[np.ndarray], kept: int) -> float:
    """The size that `kept` entries have at least, without a copy of them all."""
    # Positive floats are ordered as the integers that have their bits.
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
    # Zeros are no entries.
    return float(max(limit.view("float32"), np.finfo("float32").tiny))


def weighted(matrix: sparse.csr_matrix, user_weight: float) -> sparse.csr_matrix:
    """diag(w)^(1/2) X, float32, w_u = n_u^-user_weight with a mean of 1 over users."""
    matrix = matrix.astype("float32", copy=False)
    if user_weight == 0:
        return matrix
    lengths = np.diff(matrix.indptr)
    known = lengths > 0
    weights = np.zeros(len(lengths))
    weights[known] = lengths[known] ** -user_weight
    weights[known] /= weights[known].mean()
    roots = np.repeat(np.sqrt(weights), lengths).astype("float32")
    scaled = (matrix.data * roots, matrix.indices, matrix.indptr)
    return sparse.csr_matrix(scaled, shape=matrix.shape)


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
    wide = block.astype("float64")
    try:
        np.linalg.cholesky(wide)
    except np.linalg.LinAlgError:
        raise ValueError(
            "X^T X + l2 I is not positive definite in float32: choose a larger `l2`."
        ) from None
    return np.linalg.inv(wide).astype("float32")
