"""The baseline that every recommender must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_multvae.baselines.base import Baseline, stored
from keras_multvae.memory import require_scores
from keras_multvae.typing import Clicks


class Popularity(Baseline):
    """Ranks items by how many training users clicked them, the same for everybody.

    Args:
        num_items: Int, size of the catalogue.

    Example:

    >>> from scipy import sparse
    >>> clicks = sparse.csr_matrix([[1, 1, 0], [0, 1, 0]])
    >>> model = Popularity(3).fit(clicks)
    >>> model.score(clicks[:1]).argmax()
    np.int64(1)
    """

    def __init__(self, num_items: int) -> None:
        super().__init__(num_items)
        self.counts = np.zeros(num_items, "int64")

    def fit(self, interactions: Clicks) -> Popularity:
        """Counts users per item.

        Args:
            interactions: `Interactions`, or a SciPy or dense matrix (users, items).

        Returns:
            The model itself.

        Raises:
            ValueError: Another number of items.
        """
        matrix = self._matrix(interactions)
        self.counts = np.bincount(matrix.indices, minlength=self.num_items)
        return self

    def score(self, histories: Clicks, batch_size: int = 500) -> np.ndarray:
        """The log of each item's share of the clicks, one added to every count.

        Args:
            histories: As `fit` takes them; only the number of users matters.
            batch_size: Not used; the baseline has no batches.

        Returns:
            float32 (users, num_items).
        """
        users = self._matrix(histories, "histories").shape[0]
        require_scores(users, self.num_items)
        smoothed = self.counts + 1.0
        shares = np.log(smoothed / smoothed.sum()).astype("float32")
        return np.tile(shares, (users, 1))

    def _arrays(self) -> dict[str, Any]:
        return {"counts": self.counts}

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Popularity:
        counts = stored(arrays, "counts", (None,))
        if counts.min() < 0:
            raise ValueError(f"a count of {counts.min()}")
        model = cls(len(counts))
        model.counts = counts
        return model
