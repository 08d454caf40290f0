"""The best items of each user, exactly and without sorting whole rows.

The items of a row are divided into blocks, a few times k of them. The k-th largest of
the blocks' maxima is at most the k-th best score. So only the items that reach this
bound, not many more than k, are candidates to be sorted. Blocks with an excluded item
are ignored for the bound, so scores are never overwritten.

bfloat16 scores are compared as integers of the same order; only those of candidates
become float32.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import sparse

from keras_multvae import bfloat16, checks
from keras_multvae.data.columns.csr import rows_of

# The number of blocks in multiples of k, and the maximum number of items in one.
BLOCKS, WIDEST = 6, 64
# The maximum number of candidates in multiples of k. Users with more, whose scores are
# nearly equal, are ranked one by one.
MAX_CANDIDATES = 8
# The minimum number of users for a thread.
FEWEST = 16


class TopK(NamedTuple):
    """Ranked items; only the first `valid[u]` columns of a row count.

    Args:
        indices: (users, k) int64 item indices, best first.
        scores: (users, k), their scores; -inf past `valid`.
        valid: (users,) int64, how many of the k count.
    """

    indices: np.ndarray
    scores: np.ndarray
    valid: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """(users, k) bools: which of the columns count."""
        return first_columns(self.valid, self.indices.shape[1])


def first_columns(sizes: np.ndarray, width: int) -> np.ndarray:
    """True in the first `sizes[u]` columns of each row: (users, width) bools.

    Example:

    >>> first_columns(np.array([2, 0]), 3).astype(int)
    array([[1, 1, 0],
           [0, 0, 0]])
    """
    return np.arange(width) < sizes[:, None]


def top_k(
    scores: np.ndarray,
    k: int,
    excluded: sparse.csr_matrix | None = None,
    constants: np.ndarray | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> TopK:
    """Ranks the k best items of each user; of equal scores the lower index is better.

    Args:
        scores: (users, items) floats, higher is better; bfloat16 ones are ranked as
            if they were float32.
        k: Int >= 1; at most the number of items is used.
        excluded: Optional CSR (users, items); items stored there are left out.
        constants: Optional (users,) floats to subtract from each user's scores. The
            ranking is that of the rounded differences.
        pool: Optional threads, which share the users with the caller's thread.

    Returns:
        `TopK`.

    Raises:
        ValueError: `k` is no integer >= 1, or scores that are NaN.

    Example:

    >>> top_k(np.array([[0.1, 0.9, 0.9, 0.2]]), 3).indices
    array([[1, 2, 3]])
    """
    scores = np.asarray(scores)
    num_users, num_items = scores.shape
    k = min(checks.integer("k", k), num_items)
    constants = np.zeros(num_users) if constants is None else constants
    constants = constants.astype(bfloat16.widen(scores[:0]).dtype, copy=False)
    if not np.isfinite(constants).all():
        raise checks.diverged()
    if excluded is None:
        excluded = sparse.csr_matrix(scores.shape)
    indices = np.empty((num_users, k), "int64")
    found = np.empty((num_users, k), constants.dtype)
    # Not in the threads, whose memory the system would clear again each time.
    candidates = np.empty(scores.shape, bool)
    # NumPy lets the other threads run while it works on an array.
    step = max(-(-num_users // (processors() if pool else 1)), FEWEST)

    def work(start: int) -> None:
        part = slice(start, start + step)
        ends = excluded.indptr[start : start + step + 1]
        seen = excluded.indices[ends[0] : ends[-1]]
        _rank(
            scores[part], constants[part], ends - ends[0], seen,
            candidates[part], indices[part], found[part],
        )  # fmt: skip

    others = []
    if pool is not None:
        others = [pool.submit(work, start) for start in range(step, num_users, step)]
    if num_users:
        work(0)
    for each in others:
        each.result()
    unseen = num_items - np.diff(excluded.indptr).astype("int64")
    return TopK(indices, found, np.minimum(unseen, k))


def _rank(
    scores: np.ndarray,
    constants: np.ndarray,
    indptr: np.ndarray,
    seen: np.ndarray,
    candidates: np.ndarray,
    indices: np.ndarray,
    found: np.ndarray,
) -> None:
    """Fills `indices` and `found`, (users, k); `indptr`, `seen` are of a CSR matrix."""
    num_users, num_items = scores.shape
    k = indices.shape[1]
    rows = rows_of(indptr)
    order, cutoff = _with_cutoff(scores, constants, k, rows, seen)
    np.greater_equal(order, cutoff[:, None], out=candidates)
    candidates[rows, seen] = False
    crowd = MAX_CANDIDATES * k
    user, item = np.divmod(np.flatnonzero(candidates), num_items)
    counts = np.bincount(user, minlength=num_users)
    simple = (counts >= k) & (counts <= crowd)
    if not simple.all():
        kept = simple[user]
        user, item, counts = user[kept], item[kept], counts * simple
    # One row of candidates for each user, by ascending index; negated, as sorts ascend.
    place = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    negated = np.full((num_users, max(counts.max(), k)), np.inf, constants.dtype)
    negated[user, place] = constants[user] - bfloat16.widen(scores[user, item])
    items = np.zeros(negated.shape, "int64")
    items[user, place] = item
    order = np.argsort(negated, axis=1, kind="stable")[:, :k]
    indices[:] = np.take_along_axis(items, order, axis=1)
    found[:] = 0 - np.take_along_axis(negated, order, axis=1)
    for row in np.flatnonzero(~simple):
        own = seen[indptr[row] : indptr[row + 1]]
        indices[row], found[row] = _rank_one(
            bfloat16.widen(scores[row]) - constants[row], own, k
        )


def _with_cutoff(
    scores: np.ndarray,
    constants: np.ndarray,
    k: int,
    rows: np.ndarray,
    seen: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in the order of the scores; (users,), a bound that the k best reach.

    The bound is inf if it is unknown.
    """
    if scores.dtype != bfloat16.DTYPE:
        return scores, _below(_kth_of_blocks(scores, k, rows, seen, -np.inf), constants)
    if bfloat16.any_nan(scores):
        raise checks.diverged()

    def cutoff(order: np.ndarray) -> np.ndarray:
        found = _kth_of_blocks(order, k, rows, seen, bfloat16.LOWEST)
        return bfloat16.rank_bounds(_below(bfloat16.from_ranks(found), constants))

    # Down to 0, the bits are in the order of the floats as they are.
    order = scores.view("int16")
    bound = cutoff(order)
    if (bound <= 0).any():
        order = bfloat16.to_ranks(scores)
        bound = cutoff(order)
    return order, bound


def _kth_of_blocks(
    order: np.ndarray, k: int, rows: np.ndarray, seen: np.ndarray, lowest: float
) -> np.ndarray:
    """(users,), the k-th largest maximum of a block without seen items, or `lowest`."""
    num_users, num_items = order.shape
    width = min(max(num_items // (BLOCKS * k), 1), WIDEST)
    blocks = -(-num_items // width)
    # Item i belongs to block i modulo `blocks`, as neighbouring items are similar.
    full = num_items - num_items % blocks
    best = order[:, :full].reshape(num_users, -1, blocks).max(axis=1)
    rest = best[:, : num_items - full]
    np.maximum(rest, order[:, full:], out=rest)
    if np.isnan(best).any():
        raise checks.diverged()
    best[rows, seen % blocks] = lowest
    best.partition(blocks - k, axis=1)
    return best[:, blocks - k]


def _below(found: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """(users,), what scores reach whose rounded differences reach that of `found`."""
    bound = found - constants
    # Slightly lower scores may have the same rounded difference.
    lower = np.nextafter(np.nextafter(bound, -np.inf) + constants, -np.inf)
    return np.where(np.isneginf(bound), np.inf, lower)


def _rank_one(
    scores: np.ndarray, seen: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ranking of one user, for any scores."""
    unseen = np.delete(np.arange(len(scores)), seen)
    scores = scores[unseen]
    count = min(k, len(unseen))
    chosen = np.arange(count)
    if count < len(unseen):
        worst = np.partition(scores, len(unseen) - count)[len(unseen) - count]
        better = np.flatnonzero(scores > worst)
        equal = np.flatnonzero(scores == worst)[: count - len(better)]
        chosen = np.sort(np.append(better, equal))
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    left = k - count
    return (
        np.append(unseen[chosen], seen[:left]),
        np.append(scores[chosen], np.full(left, -np.inf, scores.dtype)),
    )


def processors() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
