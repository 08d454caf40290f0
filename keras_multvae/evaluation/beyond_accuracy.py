"""What lists are besides accurate: novel, diverse, spread over the catalogue.

Each measure takes rankings, `TopK`, and gives a number a user or one for all; a place
past `valid` does not count. docs/method.md has the formulas and their sources.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from keras_multvae.features import ItemFeatures
from keras_multvae.ranking import TopK
from keras_multvae.ranking.catalogue import SMOOTHING, Catalogue, mix_of, vectors_of
from keras_multvae.typing import Model


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
    found.vectors = vectors_of(model, features)
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
