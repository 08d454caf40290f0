"""Weighted ridge regression from features to many targets, with its penalty chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from keras_multvae.features.feature import Matrix

# Penalties that are tried, in multiples of the mean eigenvalue of the design.
PENALTIES = tuple(float(10.0 ** (n / 2)) for n in range(-6, 9))
# Items that a penalty is judged by, at most.
MAX_JUDGED = 5000
# Eigenvalues below this share of the largest are rounding.
SMALLEST = 1e-9


class Regression:
    """The design of a weighted ridge regression with an intercept, decomposed once.

    Minimises sum_i w_i |t_i - mu - (x_i - m) C|^2 + penalty |C|^2, m the weighted mean
    of the x_i. The eigenvectors of the design's Gram matrix give the solutions for all
    penalties; the leave-one-out error of each follows from the leverages, without
    fitting anew (Hoerl and Kennard, 1970; Golub, Heath and Wahba, 1979).

    Args:
        design: (items, width), sparse or dense.
        weights: (items,) >= 0, how much each item counts; at least one above 0.
        penalties: Multiples of the mean eigenvalue that are tried.

    Example:

    >>> x = np.arange(8.0)[:, None]
    >>> regression = Regression(x, np.ones(8))
    >>> fitted = regression.fit(2 * x + 1)
    >>> regression.predict(np.array([[10.0]]), fitted).round(1).tolist()
    [[21.0]]
    """

    def __init__(
        self,
        design: Matrix,
        weights: np.ndarray,
        penalties: Sequence[float] = PENALTIES,
    ) -> None:
        weights = np.asarray(weights, "float64")
        if not (weights >= 0).all() or not weights.sum() > 0:
            raise ValueError("No item is known well enough to learn from.")
        self.weights = weights / weights.max()
        total = self.weights.sum()
        self._mean = np.asarray(self.weights @ design).ravel() / total
        if design.shape[1] <= design.shape[0]:
            # Of a sparse design no dense copy is made.
            scaled = _by_rows(design, self.weights)
            gram = np.asarray(_dense(design.T @ scaled), "float64")
            gram -= total * np.outer(self._mean, self._mean)
            values, vectors = np.linalg.eigh(gram)
            kept = values > SMALLEST * max(values[-1], 1e-30)
            self._eigenvalues, self._eigenvectors = values[kept], vectors[:, kept]
        else:
            roots = np.sqrt(self.weights)[:, None]
            centred = (_dense(design) - self._mean) * roots
            values, vectors = np.linalg.eigh(centred @ centred.T)
            kept = values > SMALLEST * max(values[-1], 1e-30)
            self._eigenvalues = values[kept]
            self._eigenvectors = (
                centred.T @ vectors[:, kept] / np.sqrt(self._eigenvalues)
            )
        self._design = design
        scale = float(self._eigenvalues.mean()) if len(self._eigenvalues) else 1.0
        self._penalties = [scale * each for each in penalties]
        known = np.flatnonzero(self.weights > 0)
        step = -(-len(known) // MAX_JUDGED)
        self._judged = known[::step]
        self._of_judged = self._in_basis(design[self._judged])

    def _in_basis(self, design: Matrix) -> np.ndarray:
        """Centred rows in the basis of the eigenvectors, (rows, rank)."""
        found: np.ndarray = np.asarray(design @ self._eigenvectors)
        return found - self._mean @ self._eigenvectors

    def mean(self, targets: np.ndarray) -> np.ndarray:
        """The weighted mean of targets, (any,)."""
        found: np.ndarray = self.weights @ targets / self.weights.sum()
        return found

    def fit(self, targets: np.ndarray) -> Fitted:
        """The intercept and coefficients with the least leave-one-out error.

        Args:
            targets: (items, any), finite.
        """
        targets = np.asarray(targets, "float64")
        mean = self.mean(targets)
        # Rows of weight 0 have no say, also where they are large.
        scaled = self.weights[:, None] * (targets - mean)
        projected = self._eigenvectors.T @ np.asarray(self._design.T @ scaled)
        errors = [
            self._left_out(targets, mean, projected, penalty)[1]
            for penalty in self._penalties
        ]
        # Of equal ones the largest: features that say nothing are not to be read.
        best = len(errors) - 1 - int(np.argmin(errors[::-1]))
        return Fitted(mean, projected, self._penalties[best])

    def predict(self, design: Matrix, fitted: Fitted) -> np.ndarray:
        """The targets of items by their features, float64 (items, any)."""
        shrunk = fitted.projected / (self._eigenvalues + fitted.penalty)[:, None]
        return fitted.mean + self._in_basis(design) @ shrunk

    def left_out(self, targets: np.ndarray, fitted: Fitted) -> np.ndarray:
        """What each judged item would get by the others alone, (judged, any)."""
        targets = np.asarray(targets, "float64")
        residuals, _ = self._left_out(
            targets, fitted.mean, fitted.projected, fitted.penalty
        )
        return targets[self._judged] - residuals

    @property
    def judged(self) -> np.ndarray:
        """Indices of the items of `left_out`."""
        return self._judged

    def _left_out(
        self,
        targets: np.ndarray,
        mean: np.ndarray,
        projected: np.ndarray,
        penalty: float,
    ) -> tuple[np.ndarray, float]:
        """Residuals of items whose own row was left out, and the error they come to."""
        rows, weights = self._of_judged, self.weights[self._judged]
        shrunk = projected / (self._eigenvalues + penalty)[:, None]
        residuals = targets[self._judged] - mean - rows @ shrunk
        leverages = weights * (
            1 / self.weights.sum() + rows**2 @ (1 / (self._eigenvalues + penalty))
        )
        residuals /= np.maximum(1 - leverages, 1e-6)[:, None]
        return residuals, float(weights @ (residuals**2).sum(axis=1))


class Fitted:
    """What `Regression.fit` found.

    Args:
        mean: (any,) weighted mean of the targets.
        projected: (rank, any), the targets' products with the design's eigenvectors.
        penalty: Float, the one that was chosen.
    """

    def __init__(self, mean: np.ndarray, projected: np.ndarray, penalty: float) -> None:
        self.mean, self.projected, self.penalty = mean, projected, penalty


def _by_rows(design: Matrix, weights: np.ndarray) -> Matrix:
    if sparse.issparse(design):
        return sparse.csr_matrix(sparse.diags_array(weights) @ design)
    return design * weights[:, None]


def _dense(matrix: Matrix) -> np.ndarray:
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)
