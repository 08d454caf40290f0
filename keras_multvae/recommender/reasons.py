"""Why an item is recommended: which items of the history its score comes from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from keras_multvae.abilities import Ranks
from keras_multvae.data.columns.csr import csr_over
from keras_multvae.ranking import TopK, select_rows
from keras_multvae.ranking.batches import default_batch_size

# Scores are shown with two digits: what changes none of them is no reason.
LEAST_CHANGE = 0.005
# Entries of a batch, which hold a history time and again.
MAX_ENTRIES = 1 << 22


class Reason(NamedTuple):
    """An item of the history, and what a recommendation owes to it.

    Args:
        item: Its raw id.
        change: What the score of the recommended item loses without it.
    """

    item: int | str
    change: float


class Reasons(NamedTuple):
    """The reasons of ranked items: the first `valid` of the last axis count.

    Args:
        indices: (users, k, reasons) int64 item indices, those that add most first.
        changes: (users, k, reasons) float32.
        valid: (users, k) int64.
    """

    indices: np.ndarray
    changes: np.ndarray
    valid: np.ndarray


def reasons_of(
    model: Ranks, histories: sparse.csr_matrix, rows: np.ndarray, top: TopK, count: int
) -> Reasons:
    """What each ranked item's score loses without each item of the history.

    Each user costs a forward pass for every item of the history.

    Args:
        model: What gives the scores.
        histories: CSR (users, items), sorted and without duplicates.
        rows: (users,) the rows of the users.
        top: Their rankings.
        count: Int >= 1, reasons of an item at most.
    """
    shape = (*top.indices.shape, count)
    found = Reasons(
        np.zeros(shape, "int64"), np.zeros(shape, "float32"), np.zeros(shape[:2], int)
    )
    for user, row in enumerate(rows):
        ranked = top.indices[user, : top.valid[user]]
        history = select_rows(histories, np.array([row]))
        changes = _changes(model, history, ranked)
        best = np.argsort(-changes, axis=0, kind="stable")[:count]
        changes = np.take_along_axis(changes, best, axis=0)
        place = (user, slice(len(ranked)), slice(len(best)))
        found.indices[place] = history.indices[best].T
        found.changes[place] = changes.T
        found.valid[user, : len(ranked)] = (changes >= LEAST_CHANGE).sum(axis=0)
    return found


def _changes(
    model: Ranks, history: sparse.csr_matrix, ranked: np.ndarray
) -> np.ndarray:
    """(items of the history, ranked items), what each score loses without each item."""
    size = history.nnz
    if size == 0 or len(ranked) == 0:
        return np.zeros((size, len(ranked)), "float32")
    # Few numbers of rows, as compiled backends compile a pass for each: the rest of a
    # batch is the whole history once more, as its first row is.
    step = min(
        default_batch_size(model.num_items),
        1 << size.bit_length(),
        max(MAX_ENTRIES // size, 1),
    )
    left_out = np.full(-(-(size + 1) // step) * step, size)
    left_out[1 : size + 1] = np.arange(size)
    scores = [
        model.score(_without(history, left_out[i : i + step]), step)[:, ranked]
        for i in range(0, len(left_out), step)
    ]
    whole, *others = np.concatenate(scores)[: size + 1]
    return whole - np.stack(others)


def _without(history: sparse.csr_matrix, left_out: np.ndarray) -> sparse.csr_matrix:
    """A row without one of its entries, for each of these; past the last one, whole."""
    size = history.nnz
    keep = np.arange(size) != left_out[:, None]
    entries = np.broadcast_to(np.arange(size), keep.shape)[keep]
    return csr_over(
        history.data[entries],
        history.indices[entries],
        np.append(0, np.cumsum(keep.sum(axis=1))),
        (len(left_out), history.shape[1]),
    )
