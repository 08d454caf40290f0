"""Rows of a CSR matrix as a compact batch; docs/architecture.md has the layout."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.data.columns.mapped import take_runs


def pack(
    matrix: sparse.csr_matrix,
    users: np.ndarray,
    empty: int = 0,
    partitions: int = 1,
    own: slice = slice(None),
    binary: bool = False,
) -> dict[str, np.ndarray]:
    """The rows `users` of a CSR matrix, then `empty` rows, as a ragged batch.

    Args:
        matrix: The CSR matrix.
        users: Ints, its rows.
        empty: Users without entries that follow.
        partitions: Equal parts of the users, with as many entries each.
        own: The partitions to give; no others are read.
        binary: Whether all values are known to be 1; then they are not read.
    """
    starts = matrix.indptr[users].astype("int64")
    sizes = matrix.indptr[users + 1] - starts
    no_users = np.zeros(empty, "int64")
    starts, sizes = np.append(starts, no_users), np.append(sizes, no_users)
    per_partition = sizes.reshape(partitions, -1)
    # The same for all partitions, and so known to all processes. Most batches have the size
    # of the average one, so that less is compiled.
    average = int(matrix.indptr[-1]) * per_partition.shape[1] // max(matrix.shape[0], 1)
    capacity = padded_size(max(int(per_partition.sum(axis=1).max()), average))
    sizes, starts = per_partition[own].ravel(), starts.reshape(partitions, -1)[own].ravel()
    totals = per_partition[own].sum(axis=1)
    partitions = len(totals)
    item_ids = take_runs(matrix.indices, starts, sizes)
    values = None if binary else take_runs(matrix.data, starts, sizes)
    batch = {
        "entries_per_user": sizes.astype("int32"),
        "item_ids": np.zeros(partitions * capacity, "int32"),
        "values": np.zeros(partitions * capacity, "float32"),
    }
    end = 0
    for block, total in enumerate(totals.tolist()):
        place = slice(block * capacity, block * capacity + total)
        start, end = end, end + total
        batch["item_ids"][place] = item_ids[start:end]
        batch["values"][place] = 1 if values is None else values[start:end]
    batch["entries_per_user"].reshape(partitions, -1)[:, -1] += (capacity - totals).astype("int32")
    return batch


def padded_size(entries: int) -> int:
    """The next of the sizes 2**i * (4..7) / 4, at least 16: at most a quarter more."""
    entries = max(entries, 16)
    step = 1 << (entries - 1).bit_length() - 3
    return -(-entries // step) * step
