"""Rankings for many users, batch by batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse

from keras_multvae import backend, checks
from keras_multvae.abilities import Ranks
from keras_multvae.data.columns.csr import csr_over
from keras_multvae.data.columns.mapped import take_runs
from keras_multvae.memory import available_memory
from keras_multvae.models.base import RankingModel
from keras_multvae.models.scoring import score_itemsize
from keras_multvae.ranking.topk import TopK, processors, top_k
from keras_multvae.typing import Model

# The maximum and minimum number of users in a batch, unless memory needs fewer.
# Products of few rows leave processors idle.
MAX_USERS, MIN_USERS = 1000, 64
# The same limits for an accelerator, which needs larger batches to be busy.
MAX_DEVICE_SCORE_BYTES, MAX_DEVICE_USERS = 256 << 20, 8192
# How many arrays as large as a batch's scores may be in use at a time.
COPIES = 4
# The memory to assume if the system does not tell how much is left.
ASSUMED = 1 << 30


def rank(
    model: Ranks,
    histories: sparse.csr_matrix,
    k: int,
    *,
    rows: np.ndarray | None = None,
    exclude_seen: bool = True,
    allowed: np.ndarray | None = None,
    offsets: np.ndarray | None = None,
    batch_size: int | None = None,
) -> Iterator[tuple[np.ndarray, TopK]]:
    """Ranks the items for users given by their histories; see `top_k` for the order.

    It needs the memory of one batch, however many users there are.

    Args:
        model: The model that computes the scores.
        histories: CSR (users, items), sorted and without duplicates; memory-mapped
            arrays are read batch by batch.
        k: Int >= 1.
        rows: Optional 1-D int array, the users to rank for; by default all of them.
        exclude_seen: Bool, whether to leave out the items of the history.
        allowed: Optional ascending 1-D int array, the only items to rank.
        offsets: Optional float32 (items,), to subtract from each item's scores.
        batch_size: Int >= 1, users scored at a time; by default chosen by the free
            memory, at most 1,000.

    Yields:
        The rows of a batch, and their `TopK`.
    """
    if rows is None:
        rows = np.arange(histories.shape[0])
    # Offsets are subtracted on the host.
    there = offsets is None and _scores_itself(model) and backend.has_accelerator()
    if batch_size is None:
        on_host = _scores_itself(model) and not there
        itemsize = score_itemsize(model) if on_host else 4
        size = default_batch_size(model.num_items, there, itemsize)
    else:
        size = checks.integer("batch_size", batch_size)
    several = len(rows) > size
    if there:
        k = checks.integer("k", k)
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            seen, pad_to = select_rows(histories, batch), size if several else 0
            yield batch, best(model, seen, k, exclude_seen, allowed, pad_to)
        return
    with contextlib.ExitStack() as stack:
        pool = None
        if several:
            stack.enter_context(backend.retain_freed_memory())
            # For all batches, as new threads would start on a busy processor.
            pool = stack.enter_context(ThreadPoolExecutor(max(processors() - 1, 1)))
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            seen = select_rows(histories, batch)
            scores, constants = _scores(model, seen, size, several)
            if offsets is not None:
                scores = scores - offsets
            if allowed is not None:
                scores, seen = np.take(scores, allowed, axis=1), seen[:, allowed]
            top = top_k(scores, k, seen if exclude_seen else None, constants, pool)
            if allowed is not None:
                top = top._replace(indices=allowed[top.indices])
            yield batch, top


def best(
    model: Model,
    histories: sparse.csr_matrix,
    k: int,
    exclude_seen: bool,
    allowed: np.ndarray | None,
    pad_to: int,
) -> TopK:
    """`top_k` of a batch, computed on the model's device.

    The scores of all items are not copied to the host.
    """
    k = min(k, model.num_items if allowed is None else len(allowed))
    indices, scores = model.best(histories, k, exclude_seen, allowed, pad_to)
    indices = indices.astype("int64")
    if allowed is not None:
        indices, histories = allowed[indices], histories[:, allowed]
    unseen = np.full(len(indices), histories.shape[1])
    if exclude_seen:
        unseen -= np.diff(histories.indptr)
    return TopK(indices, scores, np.minimum(unseen, k))


def default_batch_size(num_items: int, there: bool = False, itemsize: int = 4) -> int:
    """The number of users whose scores fit well into free memory.

    Args:
        num_items: Int, the size of the catalogue.
        there: Bool, whether an accelerator computes the rankings.
        itemsize: Int, the bytes of a score.
    """
    a_user = itemsize * num_items
    if there:
        return min(max(MAX_DEVICE_SCORE_BYTES // a_user, MIN_USERS), MAX_DEVICE_USERS)
    wanted = min(max(backend.REUSED_BYTES // a_user, MIN_USERS), MAX_USERS)
    free = available_memory()
    free = ASSUMED if free is None else free
    return max(min(wanted, free // 4 // (COPIES * a_user)), 1)


def select_rows(matrix: sparse.csr_matrix, users: np.ndarray) -> sparse.csr_matrix:
    """The rows `users`; no other rows of memory-mapped arrays are read."""
    starts = matrix.indptr[users].astype("int64")
    sizes = matrix.indptr[users + 1] - starts
    return csr_over(
        take_runs(matrix.data, starts, sizes),
        take_runs(matrix.indices, starts, sizes),
        np.append(0, np.cumsum(sizes)),
        (len(users), matrix.shape[1]),
    )


def _scores(
    model: Model, histories: sparse.csr_matrix, batch_size: int, several: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores, and the constants to subtract from those of each user."""
    if _scores_itself(model):
        return model.unnormalized_scores(histories, batch_size if several else 0)
    return model.score(histories, batch_size=batch_size), None


def _scores_itself(model: Model) -> bool:
    """Whether a model uses our `score`; a `score` of its own must be called."""
    return getattr(type(model), "score", None) is RankingModel.score
