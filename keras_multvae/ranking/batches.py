"""Ranks for many users, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from keras_multvae.data.interactions import csr_over, runs
from keras_multvae.models.base import RankingModel
from keras_multvae.ranking.topk import TopK, top_k

# Users a batch where memory does not ask for fewer: more are no faster.
LARGEST = 500
# Arrays as large as a batch's scores that may be in use at a time.
COPIES = 4
# What to count on where the system does not say how much memory is left.
ASSUMED = 1 << 30
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


class Ranker(Protocol):
    """What can be evaluated and can recommend: our models and the baselines."""

    num_items: int

    def score(self, histories: sparse.csr_matrix, batch_size: int = 500) -> np.ndarray:
        """(users, items) CSR -> (users, items) scores, seen items not masked."""
        ...


def rank(
    model: Any,
    histories: sparse.csr_matrix,
    k: int,
    *,
    users: np.ndarray | None = None,
    exclude_seen: bool = True,
    allowed: np.ndarray | None = None,
    batch_size: int | None = None,
) -> Iterator[TopK]:
    """Ranks the items for users given by their histories; see `top_k` for the order.

    Memory is that of one batch, however many users there are.

    Args:
        model: What gives the scores.
        histories: CSR (users, items), sorted and without duplicates; memory-mapped
            arrays are read a batch at a time.
        k: Int >= 1.
        users: Optional 1-D int array, the rows to rank for; all of them by default.
        exclude_seen: Bool, whether to leave out the items of the history.
        allowed: Optional ascending 1-D int array, the only items to rank.
        batch_size: Int >= 1, users scored at a time; by default as many as fit in
            memory, at most 500.

    Yields:
        `TopK` of one batch of users after the other.
    """
    if users is None:
        users = np.arange(histories.shape[0])
    size = default_batch_size(model.num_items) if batch_size is None else batch_size
    pad_to = size if len(users) > size else 0
    for start in range(0, len(users), size):
        batch = _rows(histories, users[start : start + size])
        constants = None
        # Most scores are never looked at, and need not be normalised.
        if getattr(type(model), "score", None) is RankingModel.score:
            scores, constants = model.unnormalized_scores(batch, pad_to)
        else:
            scores = model.score(batch, batch_size=size)
        seen = batch if exclude_seen else None
        if allowed is None:
            yield top_k(scores, k, seen, constants)
        else:
            seen = None if seen is None else seen[:, allowed]
            top = top_k(np.take(scores, allowed, axis=1), k, seen, constants)
            yield top._replace(indices=allowed[top.indices])


def default_batch_size(num_items: int) -> int:
    """Users whose scores take up a quarter of the memory that is left, at most 500."""
    of_a_user = COPIES * np.dtype("float32").itemsize * num_items
    return max(1, min(LARGEST, available_memory() // (4 * of_a_user)))


def available_memory() -> int:
    """Bytes that may be allocated without swapping, as far as the system says."""
    known = [int(line.split()[1]) << 10 for line in _lines(MEMINFO, "MemAvailable")]
    limit, used = (
        _lines(CGROUP / name) for name in ("memory.max", "memory.current")
    )
    if limit and used and limit[0] != "max":
        known.append(max(int(limit[0]) - int(used[0]), 0))
    return min(known, default=ASSUMED)


def _lines(path: Path, start: str = "") -> list[str]:
    """Lines of a file that begin with `start`; none where there is no such file."""
    try:
        return [line for line in path.read_text().splitlines() if line.startswith(start)]
    except OSError:
        return []


def _rows(matrix: sparse.csr_matrix, users: np.ndarray) -> sparse.csr_matrix:
    """The rows `users`; of a memory-mapped matrix no more than them is read."""
    starts = matrix.indptr[users].astype("int64")
    sizes = matrix.indptr[users + 1] - starts
    source = runs(starts, sizes)
    return csr_over(
        matrix.data[source],
        matrix.indices[source],
        np.append(0, np.cumsum(sizes)),
        (len(users), matrix.shape[1]),
    )
