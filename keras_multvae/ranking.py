"""The best items of each user, exactly and without sorting whole rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse


class TopK(NamedTuple):
    """Ranked items: the first `valid[u]` columns of a row count.

    Args:
        indices: (users, k) int64 item indices, best first.
        scores: (users, k), their scores; -inf past `valid`.
        valid: (users,) int64, how many of the k count.
    """

    indices: np.ndarray
    scores: np.ndarray
    valid: np.ndarray


def top_k(
    scores: np.ndarray, k: int, excluded: sparse.csr_matrix | None = None
) -> TopK:
    """Ranks the k best items of each user; of equal scores the lower index is better.

    Args:
        scores: (users, items) floats, higher is better. Overwritten where `excluded`.
        k: Int >= 1; more than there are items is cut to their number.
        excluded: Optional CSR (users, items); items stored there are left out.

    Returns:
        `TopK`.

    Raises:
        ValueError: k < 1, or scores that are NaN.

    Example:

    >>> top_k(np.array([[0.1, 0.9, 0.9, 0.2]]), 3).indices
    array([[1, 2, 3]])
    """
    if k < 1:
        raise ValueError(f"`k` must be >= 1. Received: k={k}.")
    num_users, num_items = scores.shape
    k = min(k, num_items)
    if np.isnan(scores).any():
        raise ValueError("The model's scores are NaN: its training has diverged.")
    valid = np.full(num_users, k, "int64")
    if excluded is not None:
        sizes = np.diff(excluded.indptr)
        scores[np.repeat(np.arange(num_users), sizes), excluded.indices] = -np.inf
        valid = np.minimum(valid, num_items - sizes)
    if k < num_items:
        indices = np.argpartition(scores, num_items - k, axis=1)[:, num_items - k :]
    else:
        indices = np.broadcast_to(np.arange(num_items), scores.shape)
    found = np.take_along_axis(scores, indices, axis=1)
    # A partition takes any of several items that are equal to the k-th best: where
    # some were left out, take the first ones.
    worst = found.min(axis=1, keepdims=True)
    ambiguous = (found == worst).sum(axis=1) < (scores == worst).sum(axis=1)
    if ambiguous.any():
        rows = np.argsort(-scores[ambiguous], axis=1, kind="stable")[:, :k]
        indices = indices.copy()
        indices[ambiguous] = rows
        found[ambiguous] = np.take_along_axis(scores[ambiguous], rows, axis=1)
    order = np.lexsort((indices, -found), axis=1)
    return TopK(
        np.take_along_axis(indices, order, axis=1),
        np.take_along_axis(found, order, axis=1),
        valid,
    )
