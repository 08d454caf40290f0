"""What is known of the items that lists are made of, besides scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from keras_multvae.features.feature import Matrix

# What a history's mix is smoothed with, so that a list without a label costs no
# infinite sum: Steck (2018), section 3.
SMOOTHING = 0.01


@dataclass
class Catalogue:
    """What is known of the items that lists are made of.

    Args:
        clicks: (items,) float64, the clicks of each item in training; None where that
            is not told.
        users: Int, the users that clicked; 0 likewise.
        labels: Optional CSR (items, labels), a feature by which lists are calibrated.
        vectors: Optional (items, width), by whose cosines lists are diverse.
    """

    clicks: np.ndarray | None = None
    users: int = 0
    labels: sparse.csr_matrix | None = None
    vectors: Matrix = None

    @cached_property
    def self_information(self) -> np.ndarray:
        """-log2 of the share of users that an item is clicked by, (items,).

        An item without a click counts as if half a user had clicked it.
        """
        clicks = self.popularity
        return -np.log2(np.maximum(clicks, 0.5) / max(self.users, 1))

    @cached_property
    def popularity(self) -> np.ndarray:
        """(items,) clicks, which a measure asks for."""
        if self.clicks is None:
            raise ValueError(
                "This measure goes by what is popular in training. Give "
                "`train=interactions` to evaluate_ranking()."
            )
        return self.clicks

    @cached_property
    def most_popular(self) -> np.ndarray:
        """(items,) the rank by popularity, from 0; of equal ones the first is first."""
        ranks = np.empty(len(self.popularity), "int64")
        ranks[np.argsort(-self.popularity, kind="stable")] = np.arange(len(ranks))
        return ranks

    @cached_property
    def deciles(self) -> np.ndarray:
        """(items,) 1 for the items with the most clicks, a tenth of all, to 10.

        Each has a tenth of the clicked items; those that nobody clicked are in 10.
        """
        clicked = max(int((self.popularity > 0).sum()), 1)
        return np.minimum(self.most_popular * 10 // clicked, 9) + 1

    @cached_property
    def mixes(self) -> sparse.csr_matrix:
        """The labels, each row of an item with labels adding up to 1."""
        if self.labels is None:
            raise ValueError(
                "This measure goes by labels of the items. Give `features=` and "
                "`label=`, the name of one of them, to evaluate_ranking(); --label "
                "NAME to evaluate."
            )
        labels = sparse.csr_matrix(self.labels, dtype="float64")
        sums = np.asarray(labels.sum(axis=1)).ravel()
        scale = np.divide(1, sums, out=np.zeros(len(sums)), where=sums > 0)
        return sparse.csr_matrix(sparse.diags_array(scale) @ labels)

    @cached_property
    def unit_vectors(self) -> Matrix:
        """(items, width) of length 1, or 0."""
        if self.vectors is None:
            raise ValueError(
                "Diversity goes by vectors of the items, which this model has not. "
                "Give `features=` to evaluate_ranking()."
            )
        rows = self.vectors
        if sparse.issparse(rows):
            norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
            scale = np.divide(1, norms, out=np.zeros(len(norms)), where=norms > 0)
            return sparse.csr_matrix(sparse.diags_array(scale) @ rows)
        rows = np.asarray(rows, "float64")
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norms > 0, norms, 1)


def mix_of(weights: sparse.csr_matrix, mixes: sparse.csr_matrix) -> np.ndarray:
    """Shares of labels in lists or histories, (users, labels); NaN without a label.

    Args:
        weights: CSR (users, items), what each item counts.
        mixes: CSR (items, labels), shares of an item.
    """
    found = np.asarray((weights @ mixes).todense(), "float64")
    sums = found.sum(axis=1, keepdims=True)
    return np.divide(found, sums, out=np.full(found.shape, np.nan), where=sums > 0)
