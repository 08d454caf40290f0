"""What is known of the items that lists are made of, besides scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from keras_multvae.abilities import HasItemVectors, can
from keras_multvae.features import ItemFeatures
from keras_multvae.features.feature import Matrix
from keras_multvae.features.rows import shares, unit_rows
from keras_multvae.typing import Model

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
        vectors: Optional function, called only if it is needed, that gives (items,
            width): lists are diverse by the cosines of these.
    """

    clicks: np.ndarray | None = None
    users: int = 0
    labels: sparse.csr_matrix | None = None
    vectors: Callable[[], Matrix] | None = None

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
        return shares(sparse.csr_matrix(self.labels, dtype="float64"))

    @cached_property
    def unit_vectors(self) -> Matrix:
        """(items, width) of length 1, or 0."""
        if self.vectors is None:
            raise ValueError(
                "Diversity goes by vectors of the items, which this model has not. "
                "Give `features=` to evaluate_ranking()."
            )
        rows = self.vectors()
        return unit_rows(rows if sparse.issparse(rows) else rows.astype("float64"))


def vectors_of(
    model: Model, features: ItemFeatures | None
) -> Callable[[], Matrix] | None:
    """What items are compared by: features, else the model's item vectors, or None."""
    if features is not None:
        return features.unit_rows
    if can(model, HasItemVectors):
        return lambda: model.item_vectors
    return None


def mix_of(weights: sparse.csr_matrix, mixes: sparse.csr_matrix) -> np.ndarray:
    """Shares of labels in lists or histories, (users, labels); NaN without a label.

    Args:
        weights: CSR (users, items), what each item counts.
        mixes: CSR (items, labels), shares of an item.
    """
    found = np.asarray((weights @ mixes).todense(), "float64")
    sums = found.sum(axis=1, keepdims=True)
    return np.divide(found, sums, out=np.full(found.shape, np.nan), where=sums > 0)
