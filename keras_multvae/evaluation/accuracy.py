"""Metrics of accuracy, each by where the targets are in a ranking."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from keras_multvae.data.columns.csr import rows_of
from keras_multvae.ranking import TopK


def _discounts(k: int) -> np.ndarray:
    """1 / log2(rank + 1) for ranks 1 to k."""
    discounts: np.ndarray = 1 / np.log2(np.arange(2, k + 2))
    return discounts


def _ndcg(hits: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    ideal = np.cumsum(_discounts(k))[np.minimum(targets, k) - 1]
    dcg: np.ndarray = hits @ _discounts(hits.shape[1])
    return dcg / ideal


def _mrr(hits: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


def _map(hits: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    total: np.ndarray = (precision * hits).sum(axis=1)
    return total / np.minimum(targets, k)


# Each metric is a function of hits (users, <= k) in rank order, the number of targets
# (users,) and k.
PER_USER: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "recall": lambda hits, targets, k: hits.sum(axis=1) / np.minimum(targets, k),
    "recall_untruncated": lambda hits, targets, k: hits.sum(axis=1) / targets,
    "ndcg": _ndcg,
    "precision": lambda hits, targets, k: hits.sum(axis=1) / k,
    "hit_rate": lambda hits, targets, k: hits.any(axis=1).astype("float64"),
    "mrr": _mrr,
    "map": _map,
}


def hits_of(top: TopK, targets: sparse.csr_matrix) -> np.ndarray:
    """Whether each ranked item is a target: (users, k) float64 of 0 and 1."""
    num_users, num_items = targets.shape
    rows = rows_of(targets.indptr)
    wanted = np.sort(rows * num_items + targets.indices)
    ranked = np.arange(num_users)[:, None] * num_items + top.indices
    place = np.minimum(np.searchsorted(wanted, ranked), len(wanted) - 1)
    return ((wanted[place] == ranked) & top.counted).astype("float64")
