"""The base class of linear item-item models."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Self, TypeAlias

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.baselines import tuning
from keras_multvae.baselines.base import Baseline
from keras_multvae.data import Split
from keras_multvae.data.columns.clicks import weights_of_users
from keras_multvae.memory import require_scores
from keras_multvae.typing import Clicks

# Weights between items, dense or sparse, or what they are computed from.
Weights: TypeAlias = Any
SETTINGS = ("l2", "dropout", "user_weight")


class LinearModel(Baseline):
    """A model with scores `x B`. A subclass computes B from weighted clicks.

    Args:
        num_items: Int, size of the catalogue.
        l2: See `EASE`.
        dropout: See `EASE`.
        user_weight: See `EASE`.
    """

    # B, (num_items, num_items): float32, an array or CSR.
    weights: Weights
    _learnt = "weights"

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
        self.weights = None

    def fit(self, interactions: Clicks) -> Self:
        """Computes B, float32 (num_items, num_items).

        Args:
            interactions: `Interactions`, or a SciPy or dense matrix (users, items).

        Returns:
            The model itself.

        Raises:
            ValueError: Another number of items, or `l2` too small for float32.
            MemoryError: The weights do not fit into the memory that is free.
        """
        self.weights = None  # frees the matrix of an earlier fit before the next one
        matrix = self._matrix(interactions)
        self._check_memory(self.num_items, 1)
        self.weights = self._solve(self._products(weighted(matrix, self.user_weight)))
        return self

    @classmethod
    def tuned(cls, split: Split, seconds: float = math.inf, **options: Any) -> Self:
        """The model with the settings of the best validation NDCG@100.

        `l2`, `dropout` and `user_weight` are changed one at a time, starting from 200,
        .5 and .5, as long as NDCG improves: about a dozen fits. What does not depend on
        the first two, such as `X^T diag(w) X` of `EASE`, is computed once for each
        `user_weight`, which needs memory for a second matrix.

        Args:
            split: Its training and its validation part.
            seconds: Float, the time after which no further settings are tried.
            **options: Further arguments of the class.

        Returns:
            The model, fitted to `split.train`.

        Raises:
            ValueError: No validation part.
            MemoryError: Twice the weights do not fit into the memory that is free.

        Example:

        >>> from keras_multvae import EASE
        >>> from keras_multvae.data import Interactions, strong_generalization
        >>> liked = np.random.default_rng(0).random((80, 12)) < 0.5
        >>> events = (axis.tolist() for axis in liked.nonzero())
        >>> clicks = Interactions.from_events(*events)
        >>> model = EASE.tuned(strong_generalization(clicks, 20, 0))
        >>> model.l2 > 0
        True
        """
        from keras_multvae.evaluation import CHOSEN_BY, evaluate_ranking

        validation = split.validation
        if validation is None:
            raise ValueError(
                f"{cls.__name__}.tuned() needs a split with a validation part. "
                "Received: validation=None."
            )
        cls._check_memory(split.train.num_items, 2)
        products: dict[float, Weights] = {}
        end = time.monotonic() + seconds

        def fitted(point: tuning.Point) -> Any:
            model = cls(split.train.num_items, *tuning.settings_at(point), **options)
            weight = model.user_weight
            if weight not in products:
                products.clear()
                matrix = model._matrix(split.train)
                products[weight] = model._products(weighted(matrix, weight))
            model.weights = model._solve(products[weight].copy())
            return model

        def value(point: tuning.Point) -> float:
            report = evaluate_ranking(fitted(point), validation, [CHOSEN_BY])
            return report.mean(CHOSEN_BY)

        return fitted(tuning.climb(value, over=lambda: time.monotonic() > end))

    @classmethod
    def _check_memory(cls, num_items: int, matrices: int) -> None:
        """Raises `MemoryError` where so many matrices of weights do not fit."""

    def score(self, histories: Clicks, batch_size: int = 500) -> np.ndarray:
        """`x B` for histories (users, num_items), seen items unmasked.

        Args:
            histories: Clicks or counts, as `fit` takes them.
            batch_size: Not used; the caller's rows are one batch.

        Returns:
            float32 (users, num_items).

        Raises:
            ValueError: The model is not fitted.
            MemoryError: So many scores do not fit into the memory that is free.
        """
        rows = self._matrix(histories, "histories").astype("float32", copy=False)
        require_scores(*rows.shape)
        scores = rows @ self._fitted(self.weights)
        return np.asarray(scores.toarray() if sparse.issparse(scores) else scores)

    def cut(self, density: float) -> sparse.csr_matrix:
        """The largest entries of B in absolute value, CSR (num_items, num_items).

        Args:
            density: Float in (0, 1], the share of all entries to keep.

        Raises:
            ValueError: The model is not fitted, or a density out of range.
        """
        density = checks.share("density", density, "(0, 1]")
        weights = self._fitted(self.weights)
        return self._largest(weights, max(round(density * self.num_items**2), 1))

    def _products(self, matrix: sparse.csr_matrix) -> Weights:
        """The part of B's computation that does not depend on `l2` and `dropout`."""
        raise NotImplementedError

    def _solve(self, products: Weights) -> Weights:
        """B from the result of `_products`, which may be overwritten."""
        raise NotImplementedError

    def _largest(self, weights: Weights, kept: int) -> sparse.csr_matrix:
        """The `kept` largest entries of B, and any equal to the smallest of these."""
        raise NotImplementedError

    def _settings(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in SETTINGS}

    @staticmethod
    def _settings_of(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
        # Files of earlier versions have only `l2`.
        return {name: float(arrays[name]) for name in SETTINGS if name in arrays}


def weighted(matrix: sparse.csr_matrix, user_weight: float) -> sparse.csr_matrix:
    """diag(w)^(1/2) X, float32, w_u = n_u^-user_weight with a mean of 1 over users."""
    matrix = matrix.astype("float32", copy=False)
    if user_weight == 0:
        return matrix
    lengths = np.diff(matrix.indptr)
    known = lengths > 0
    weights = weights_of_users(lengths[known], user_weight)
    roots = np.repeat(np.sqrt(weights), lengths[known]).astype("float32")
    scaled = (matrix.data * roots, matrix.indices, matrix.indptr)
    return sparse.csr_matrix(scaled, shape=matrix.shape)
