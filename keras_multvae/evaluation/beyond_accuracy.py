"""What lists are besides accurate: novel, diverse, spread over the catalogue.

Each measure takes rankings, `TopK`, and gives a number a user or one for all; a place
past `valid` does not count. docs/method.md has the formulas and their sources.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from keras_multvae.abilities import HasItemVectors, can
from keras_multvae.features import ItemFeatures
from keras_multvae.features.feature import Matrix
from keras_multvae.ranking import TopK
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


def catalogue_of(
    model: Model,
    clicks: sparse.csr_matrix | None,
    features: ItemFeatures | None,
    label: str | None,
) -> Catalogue:
    """What a model, its training clicks and features tell of the items.

    Lists are diverse by the features, where there are some, else by the model's item
    vectors.

    Raises:
        ValueError: Clicks or features of other items than the model's, or a label that
            the features have not.
    """
    for name, size in (
        ("train", None if clicks is None else clicks.shape[1]),
        ("features", None if features is None else features.num_items),
    ):
        if size is not None and size != model.num_items:
            raise ValueError(
                f"`{name}` must be of the {model.num_items} items that the model "
                f"ranks. Received: {size} items."
            )
    found = Catalogue()
    if clicks is not None:
        found.clicks = np.bincount(clicks.indices, minlength=model.num_items) * 1.0
        found.users = int((np.diff(clicks.indptr) > 0).sum())
    if label is not None:
        if features is None:
            raise ValueError("`label` is the name of one of the `features`: give both.")
        found.labels = features.labels(label)
    if features is not None:
        found.vectors = features.unit_rows()
    elif can(model, HasItemVectors):
        found.vectors = model.item_vectors
    return found


def novelty(top: TopK, catalogue: Catalogue) -> np.ndarray:
    """The mean self-information of a list's items, in bits, (users,).

    Zhou et al., PNAS 2010, and Castells, Hurley and Vargas, 2015.
    """
    return _mean(catalogue.self_information[top.indices], top)


def popularity_lift(
    top: TopK, catalogue: Catalogue, history: sparse.csr_matrix
) -> np.ndarray:
    """How much more popular a list is than its history, as a share, (users,).

    (GAP of the list - GAP of the history) / GAP of the history, GAP the mean of the
    items' clicks: Abdollahpouri et al., RecSys 2019. NaN without a history.
    """
    clicks = catalogue.popularity
    sizes = np.diff(history.indptr)
    seen = sparse.csr_matrix(history, copy=True)
    seen.data = np.ones(seen.nnz)
    before = np.divide(
        seen @ clicks, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0
    )
    before[before == 0] = np.nan
    return _mean(clicks[top.indices], top) / before - 1


def diversity(top: TopK, catalogue: Catalogue) -> np.ndarray:
    """The mean distance, 1 - cosine, of two items of a list, (users,).

    Intra-list distance: Ziegler et al., WWW 2005; Vargas and Castells, RecSys 2011. 0
    for a list of one item.
    """
    vectors = catalogue.unit_vectors
    counted = top.counted.astype("float64")
    sizes = counted.sum(axis=1)
    # The sum of all cosines of pairs is the square of the sum of unit vectors.
    rows = np.repeat(np.arange(len(sizes)), top.indices.shape[1])
    entries = (counted.ravel(), (rows, top.indices.ravel()))
    members = sparse.csr_matrix(entries, shape=(len(sizes), vectors.shape[0]))
    sums = members @ vectors
    square = vectors.multiply(vectors) if sparse.issparse(vectors) else vectors**2
    own = members @ np.asarray(square.sum(axis=1)).ravel()
    all_pairs = sums.multiply(sums) if sparse.issparse(sums) else sums**2
    cosines = np.asarray(all_pairs.sum(axis=1)).ravel() - own
    pairs = sizes * (sizes - 1)
    mean = np.divide(cosines, pairs, out=np.ones(len(sizes)), where=pairs > 0)
    return 1 - mean


def serendipity(
    top: TopK, catalogue: Catalogue, hits: np.ndarray, deep: int
) -> np.ndarray:
    """The share of a list's places that are hits beyond the most popular, (users,).

    A hit that the list of the `deep` most popular items has, too, does not count: Ge,
    Delgado-Battenfeld and Jannach, RecSys 2010.
    """
    unexpected = catalogue.most_popular[top.indices] >= deep
    found: np.ndarray = (hits * unexpected).sum(axis=1) / deep
    return found


def miscalibration(
    top: TopK, catalogue: Catalogue, history: sparse.csr_matrix
) -> np.ndarray:
    """KL(p || q), in nats, of a history's mix of labels p and the list's q, (users,).

    q is smoothed, (1 - 0.01) q + 0.01 p: Steck, *Calibrated recommendations*, RecSys
    2018, equation 6. NaN for a history or a list without a label.
    """
    mixes = catalogue.mixes
    p = mix_of(history, mixes)
    sizes = top.counted.astype("float64")
    rows = np.repeat(np.arange(len(sizes)), top.indices.shape[1])
    entries = (sizes.ravel(), (rows, top.indices.ravel()))
    q = mix_of(sparse.csr_matrix(entries, shape=(len(sizes), mixes.shape[0])), mixes)
    return divergence(p, q)


def mix_of(weights: sparse.csr_matrix, mixes: sparse.csr_matrix) -> np.ndarray:
    """Shares of labels in lists or histories, (users, labels); NaN without a label.

    Args:
        weights: CSR (users, items), what each item counts.
        mixes: CSR (items, labels), shares of an item.
    """
    found = np.asarray((weights @ mixes).todense(), "float64")
    sums = found.sum(axis=1, keepdims=True)
    return np.divide(found, sums, out=np.full(found.shape, np.nan), where=sums > 0)


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p || (1 - a) q + a p) with a = 0.01, along the last axis, in nats."""
    smoothed = (1 - SMOOTHING) * q + SMOOTHING * p
    ratio = np.divide(p, smoothed, out=np.ones(np.broadcast(p, q).shape), where=p > 0)
    found: np.ndarray = (p * np.log(ratio)).sum(axis=-1)
    return np.where(np.isnan(p).any(axis=-1), np.nan, found)


def gini(counts: np.ndarray) -> float:
    """How unevenly lists fall on items: 0 where each is on as many, near 1 on one.

    sum_i (2 i - n - 1) c_i / (n sum c), c ascending: the Gini coefficient of how often
    each item of the catalogue is recommended (Fleder and Hosanagar, 2009).
    """
    ordered = np.sort(counts.astype("float64"))
    total, n = ordered.sum(), len(ordered)
    if total == 0:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


def _mean(values: np.ndarray, top: TopK) -> np.ndarray:
    """The mean over the places of each list that count, (users,); NaN for none."""
    counted = top.counted
    sums = np.where(counted, values, 0).sum(axis=1)
    sizes = counted.sum(axis=1)
    return np.divide(sums, sizes, out=np.full(len(sums), np.nan), where=sizes > 0)


# By name: measures of a list that need the history, the hits and the depth.
PER_USER: dict[
    str, Callable[[TopK, Catalogue, sparse.csr_matrix, np.ndarray, int], np.ndarray]
] = {
    "novelty": lambda top, items, *_: novelty(top, items),
    "diversity": lambda top, items, *_: diversity(top, items),
    "serendipity": lambda top, items, _, hits, k: serendipity(top, items, hits, k),
    "popularity_lift": lambda top, items, seen, *_: popularity_lift(top, items, seen),
    "miscalibration": lambda top, items, seen, *_: miscalibration(top, items, seen),
}
# Of all lists together.
OF_ALL = ("coverage", "gini")
