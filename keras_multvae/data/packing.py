"""Rows of a CSR matrix as a ragged batch; docs/architecture.md has the layout."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.data.columns.mapped import take_runs
from keras_multvae.typing import Batch


def pack(
    matrix: sparse.csr_matrix,
    users: np.ndarray,
    empty: int = 0,
    partitions: int = 1,
    own: slice = slice(None),
    binary: bool = False,
) -> Batch:
    """The rows `users` of a CSR matrix, then `empty` rows, as a ragged batch.

    Args:
        matrix: The CSR matrix.
        users: Ints, the rows of these users.
        empty: Number of users without entries to append.
        partitions: Number of equal parts, with as many users and entries each.
        own: The partitions to return; no others are read.
        binary: Whether all values are known to be 1, so that they need not be read.
    """
    starts = matrix.indptr[users].astype("int64")
    sizes = matrix.indptr[users + 1] - starts
    no_users = np.zeros(empty, "int64")
    starts, sizes = np.append(starts, no_users), np.append(sizes, no_users)
    per_partition = sizes.reshape(partitions, -1)
    # The same for all partitions, so that every process knows it. Most batches have the
    # size of the average one, so that fewer sizes are compiled.
    average = int(matrix.indptr[-1]) * per_partition.shape[1] // max(matrix.shape[0], 1)
    capacity = padded_size(max(int(per_partition.sum(axis=1).max()), average))
    sizes = per_partition[own].ravel()
    starts = starts.reshape(partitions, -1)[own].ravel()
    totals = per_partition[own].sum(axis=1)
    partitions = len(totals)
    item_ids = take_runs(matrix.indices, starts, sizes)
    values = None if binary else take_runs(matrix.data, starts, sizes)
    batch: Batch = {
        "entries_per_user": sizes.astype("int32"),
        "item_ids": np.zeros(partitions * capacity, "int32"),
        "values": np.zeros(partitions * capacity, "float32"),
    }
    end = 0
    for partition, total in enumerate(totals.tolist()):
        place = slice(partition * capacity, partition * capacity + total)
        start, end = end, end + total
        batch["item_ids"][place] = item_ids[start:end]
        batch["values"][place] = 1 if values is None else values[start:end]
    padding = (capacity - totals).astype("int32")
    batch["entries_per_user"].reshape(partitions, -1)[:, -1] += padding
    return batch


def padded_size(entries: int) -> int:
    """Rounds up to a size 2**i * (4..7) / 4, at least 16: by at most a quarter."""
    entries = max(entries, 16)
    step = 1 << (entries - 1).bit_length() - 3
    return -(-entries // step) * step
