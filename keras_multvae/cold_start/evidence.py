"""How well items are known, and what a few clicks tell of one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from keras_multvae.cold_start.ridge import Fitted, Regression
from keras_multvae.data.columns.csr import rows_of

# Clicks that make an item half known, before there is an estimate, and at most.
HALF_KNOWN, MAX_HALF_KNOWN = 10.0, 1000.0
# Clicks of which known items are shown, to learn what so many of a new one tell.
SHOWN = (1, 3, 10, 30)
# Users whose vectors tell what items' users have in common, and groups of items that
# are looked at together.
MAX_USERS, GROUPS = 5000, 5


def half_known(counts: np.ndarray, squares: np.ndarray) -> float:
    """Clicks at which an item's own row tells as much as its features do.

    Empirical Bayes: what an item differs from its prediction by has variance
    tau^2 + sigma^2 / n with n clicks, the two by least squares over the items; it is
    sigma^2 / tau^2 (Efron and Morris, 1973).

    Args:
        counts: (items,) clicks, above 0.
        squares: (items,) squared differences between rows and predictions.

    Returns:
        Float from 0 to 1000; 10 where the differences do not fall with the clicks.

    Example:

    >>> counts = np.array([1.0, 2.0, 4.0, 8.0])
    >>> round(half_known(counts, 0.5 + 3 / counts), 6)
    6.0
    """
    design = np.stack([np.ones(len(counts)), 1 / counts], axis=1)
    (between, within), *_ = np.linalg.lstsq(design, squares, rcond=None)
    if within <= 0:
        return HALF_KNOWN
    if between <= within / MAX_HALF_KNOWN:
        return MAX_HALF_KNOWN
    return float(within / between)


def behaviour(clicks: sparse.csr_matrix, queries: np.ndarray) -> np.ndarray:
    """What an item's users have in common, float64 (items, units).

    Args:
        clicks: CSR (users, items).
        queries: (users, units), the users' vectors without these items.

    Returns:
        The mean of its users' vectors less that of all; 0 without a user.
    """
    seen = sparse.csr_matrix(clicks, copy=True)
    seen.data[:] = 1
    counts = np.asarray(seen.sum(axis=0)).ravel()
    centred = queries - queries.mean(axis=0)
    found: np.ndarray = seen.T @ centred / np.maximum(counts, 1)[:, None]
    return found


def shown_clicks(clicks: sparse.csc_matrix, shown: int, seed: int) -> sparse.csr_matrix:
    """The same users and items with `shown` clicks of each item, drawn at random."""
    rng = np.random.default_rng(seed)
    # Of a matrix by columns, these are the columns.
    columns = rows_of(clicks.indptr)
    order = np.lexsort((rng.random(clicks.nnz), columns))
    kept = order[np.arange(clicks.nnz) - clicks.indptr[columns[order]] < shown]
    columns = columns[kept]
    pairs = (np.ones(len(kept)), (clicks.indices[kept], columns))
    return sparse.csr_matrix(pairs, shape=clicks.shape)


class FewClicks:
    """What clicks say of an item's rows, beside its features.

    A second regression goes from `behaviour` to the rows. With n clicks its prediction
    counts n / (n + kappa), that from the features the rest. The users' vectors are made
    without the items that are looked at, as those of a new item's users are.

    Args:
        clicks: CSR (users, items) of the known items.
        queries_of: From histories, CSR (users, items), to vectors (users, units).
        weights: (items,), how well each item is known.
        rows: (items, any), what the items' rows give, by which the penalty is chosen.
        seed: Int >= 0.

    Attributes:
        half_known: Float, kappa. At first infinite: features alone count.
    """

    def __init__(
        self,
        clicks: sparse.csr_matrix,
        queries_of: Callable[[sparse.csr_matrix], np.ndarray],
        weights: np.ndarray,
        rows: np.ndarray,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        rows_of_users = np.flatnonzero(np.diff(clicks.indptr) >= 2)
        users = np.sort(rng.permutation(rows_of_users)[:MAX_USERS])
        clicks = sparse.csr_matrix(clicks[users], dtype="float32")
        group = rng.integers(GROUPS, size=clicks.shape[1])
        found: list[np.ndarray] = []
        for number in range(GROUPS):
            apart = group == number
            others = sparse.csr_matrix(clicks @ sparse.diags_array(~apart * 1.0))
            others.eliminate_zeros()
            queries = queries_of(others.astype("float32"))
            own = sparse.csc_matrix(clicks @ sparse.diags_array(apart * 1.0))
            own.eliminate_zeros()
            shown = [shown_clicks(own, n, seed=n) for n in SHOWN]
            told = [behaviour(each, queries) for each in (own.tocsr(), *shown)]
            found = [
                np.where(apart[:, None], new, old)
                for new, old in zip(told, found or told, strict=True)
            ]
        self._counts = np.asarray((clicks > 0).sum(axis=0)).ravel()
        self._told, *self._shown = found
        self._regression = self._over(weights)
        self._penalty = self._regression.fit(rows).penalty
        self.half_known = np.inf

    def _over(self, weights: np.ndarray) -> Regression:
        """The regression from what all clicks tell."""
        return Regression(self._told, weights * (self._counts > 0))

    def standing_in(
        self,
        by_features: np.ndarray,
        rows: np.ndarray,
        places: np.ndarray,
        weights: np.ndarray,
        counts: np.ndarray,
    ) -> np.ndarray:
        """The rows of known items as they would be if these were new, (places, any).

        Args:
            by_features: (places, any), the rows by features.
            rows: (items, any), those of all items.
            places: Indices of the items; their `weights` are 0.
            weights: (items,), how well each is known.
            counts: (places,), clicks that each is shown with: the nearest number of
                `SHOWN`, and none for an item that has not twice as many.
        """
        regression = self._over(weights)
        fitted = regression.fit(rows)
        fitted.penalty = self._penalty
        numbers = np.array(SHOWN)
        distances = np.abs(np.log(numbers) - np.log(np.maximum(counts, 0.5))[:, None])
        nearest = distances.argmin(axis=1)
        told = np.stack(self._shown)[nearest, places]
        shown = numbers[nearest] * (counts > 0)
        shown = shown * (self._counts[places] >= 2 * shown)
        found = regression.predict(told, fitted)
        return mix(found, by_features, shown[:, None], self.half_known)

    def fit(self, rows: np.ndarray) -> Fitted:
        """The regression to other rows, with the same penalty."""
        fitted = self._regression.fit(rows)
        fitted.penalty = self._penalty
        return fitted

    def mixed(
        self,
        by_features: np.ndarray,
        clicks: sparse.csr_matrix,
        queries: np.ndarray,
        fitted: Fitted,
    ) -> np.ndarray:
        """The rows of new items by features and by their clicks, (items, any)."""
        found = self._regression.predict(behaviour(clicks, queries), fitted)
        counts = np.diff(clicks.tocsc().indptr)[:, None]
        return mix(found, by_features, counts, self.half_known)


def mix(
    by_clicks: np.ndarray,
    by_features: np.ndarray,
    counts: np.ndarray | int,
    half: float,
) -> np.ndarray:
    """Clicks count n / (n + half), features the rest."""
    share = counts / (counts + half)
    mixed: np.ndarray = share * by_clicks + (1 - share) * by_features
    return mixed
