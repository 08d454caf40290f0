"""Memory-mapped arrays, and reading them without filling memory; private."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from keras_multvae.data.columns.csr import LARGEST, SMALLEST, csr_over, in_range, runs
from keras_multvae.typing import Clicks


def keep_open(array: Any, file: BinaryIO, offset: int) -> np.ndarray:
    """The mapped array, which keeps its file open for as long as it exists."""
    if hasattr(os, "pread"):
        # Set on the array itself, as a view begins elsewhere in the file.
        array.source = file, offset
    return array


def is_mapped(array: np.ndarray) -> bool:
    """Whether the array is memory-mapped."""
    return isinstance(array, np.memmap)


def check_clean(matrix: Clicks) -> None:
    """Raises ValueError for a CSR matrix out of order, with repeated entries or zeros.

    Memory-mapped matrices are skipped: they were written by us, or verified when
    opened.
    """
    if is_mapped(matrix.data):
        return
    good = matrix.has_canonical_format and matrix.data.all()
    if good and not in_range(matrix.data).all():
        bad = matrix.data[~in_range(matrix.data)][0]
        raise ValueError(
            f"Values must be from {SMALLEST:g} to {LARGEST:g}, where float32 can be "
            f"trusted. Received: {bad}. Scale them, or leave such entries out."
        )
    if not good:
        raise ValueError(
            "`matrix` must have each user's items in order, none twice and none with "
            "a 0. Interactions.from_matrix() sees to that."
        )


def take_runs(array: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`array[start : start + size]` of each pair, one after the other.

    Pages that are read through a mapping count as memory of the process, and an epoch
    in random order would touch all of them. So mapped arrays are read from their file
    instead.
    """
    source = getattr(array, "source", None)
    if source is None:
        return array[runs(starts, sizes)]
    file, begin = source
    lengths = (sizes * array.itemsize).tolist()
    places = (starts * array.itemsize + begin).tolist()
    handles = itertools.repeat(file.fileno())
    content = b"".join(map(os.pread, handles, lengths, places))
    if len(content) != sum(lengths):
        raise OSError(f"{file.name} has become shorter while it was in use.")
    return np.frombuffer(content, array.dtype)


def take_all(
    arrays: dict[str, np.ndarray], starts: np.ndarray, sizes: np.ndarray
) -> dict[str, np.ndarray]:
    """`take_runs` of arrays of one length; runs that touch are read at once."""
    begins = np.ones(len(starts), bool)
    np.not_equal(starts[1:], starts[:-1] + sizes[:-1], out=begins[1:])
    starts, place = starts[begins], np.flatnonzero(begins)
    sizes = np.add.reduceat(sizes, place) if len(place) else sizes
    index = None if all(map(is_mapped, arrays.values())) else runs(starts, sizes)
    return {
        name: take_runs(array, starts, sizes) if is_mapped(array) else array[index]
        for name, array in arrays.items()
    }


def piece(array: np.ndarray, start: int, end: int) -> np.ndarray:
    """`array[start:end]`, without a copy of what is in memory."""
    if not hasattr(array, "source"):
        return array[start:end]
    return take_runs(array, np.array([start]), np.array([end - start]))


def slices(array: np.ndarray, size: int = 1 << 18) -> Iterator[np.ndarray]:
    """The array in blocks, of which at most one is in memory if it is mapped."""
    for start in range(0, len(array), size):
        yield piece(array, start, min(start + size, len(array)))


def in_memory(matrix: Clicks) -> Any:
    """A CSR matrix with its arrays in memory, for routines that read all of it.

    If the file has been truncated meanwhile, access through the mapping would kill the
    process (SIGBUS), whereas reading raises an error.
    """
    if not (is_mapped(matrix.indices) or is_mapped(matrix.data)):
        return matrix
    arrays = {}
    for name in ("data", "indices"):
        mapped = getattr(matrix, name)
        arrays[name] = np.empty(mapped.shape, mapped.dtype)
        start = 0
        for part in slices(mapped):
            arrays[name][start : start + len(part)] = part
            start += len(part)
    return csr_over(arrays["data"], arrays["indices"], matrix.indptr, matrix.shape)
