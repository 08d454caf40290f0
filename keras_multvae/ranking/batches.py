"""Ranks for many users, a batch at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy import sparse

from keras_multvae import backend, checks
from keras_multvae.abilities import Ranks
from keras_multvae.data.columns.csr import csr_over
from keras_multvae.data.columns.mapped import take_runs
from keras_multvae.models.base import RankingModel
from keras_multvae.ranking.topk import TopK, processors, top_k
from keras_multvae.typing import Model

# Users a batch where memory does not ask for fewer: at most, and at least, as products
# of few rows leave processors idle.
MAX_USERS, MIN_USERS = 500, 64
# Bytes of scores a batch: malloc gives arrays of 32 MiB and more back to the system at
# once, and the next batch waits for them to be cleared.
MAX_SCORE_BYTES = 32 << 20
# The same where an accelerator ranks: fewer, larger batches keep it busy.
MAX_DEVICE_SCORE_BYTES, MAX_DEVICE_USERS = 256 << 20, 8192
# Arrays as large as a batch's scores that may be in use at a time.
COPIES = 4
# The memory to count on where the system does not say how much is left.
ASSUMED = 1 << 30
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


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

    Memory is that of one batch, however many users there are.

    Args:
        model: What gives the scores.
        histories: CSR (users, items), sorted and without duplicates; memory-mapped
            arrays are read a batch at a time.
        k: Int >= 1.
        rows: Optional 1-D int array, the users to rank for; by default all of them.
        exclude_seen: Bool, whether to leave out the items of the history.
        allowed: Optional ascending 1-D int array, the only items to rank.
        offsets: Optional float32 (items,), what each item's scores are lowered by.
        batch_size: Int >= 1, users scored at a time; by default from the memory that
            is left, at most 500.

    Yields:
        The rows of a batch, and their `TopK`.
    """
    if rows is None:
        rows = np.arange(histories.shape[0])
    # What is taken off scores is so on the host.
    there = offsets is None and _scores_itself(model) and backend.has_accelerator()
    if batch_size is None:
        size = default_batch_size(model.num_items, there)
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
            # For all batches: new threads would begin on a processor that is busy.
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
    """What `top_k` gives for a batch, found where the model computes.

    The scores of all items need not come to the host.
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


def default_batch_size(num_items: int, there: bool = False) -> int:
    """Users whose scores go well into the memory that is left.

    Args:
        num_items: Int, the size of the catalogue.
        there: Bool, whether an accelerator ranks.
    """
    a_user = np.dtype("float32").itemsize * num_items
    if there:
        return min(max(MAX_DEVICE_SCORE_BYTES // a_user, MIN_USERS), MAX_DEVICE_USERS)
    wanted = min(max(MAX_SCORE_BYTES // a_user, MIN_USERS), MAX_USERS)
    return max(min(wanted, available_memory() // 4 // (COPIES * a_user)), 1)


def available_memory() -> int:
    """Bytes that can be allocated without swapping, as far as the system says."""
    known = [int(line.split()[1]) << 10 for line in _lines(MEMINFO, "MemAvailable:")]
    # A container may have less than the machine.
    limit, used = _lines(CGROUP / "memory.max"), _lines(CGROUP / "memory.current")
    if limit and used and limit[0] != "max":
        known.append(max(int(limit[0]) - int(used[0]), 0))
    return min(known, default=ASSUMED)


def select_rows(matrix: sparse.csr_matrix, users: np.ndarray) -> sparse.csr_matrix:
    """The rows `users`; of memory-mapped arrays no other is read."""
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
    """Scores, and what to subtract from those of each user."""
    if _scores_itself(model):
        return model.unnormalized_scores(histories, batch_size if several else 0)
    return model.score(histories, batch_size=batch_size), None


def _scores_itself(model: Model) -> bool:
    """Whether a model's scores are ours: one of its own is taken at its word."""
    return getattr(type(model), "score", None) is RankingModel.score


def _lines(path: Path, start: str = "") -> list[str]:
    """The lines of a file that begin with `start`; none if there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    return [line for line in lines if line.startswith(start)]
