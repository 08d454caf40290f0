"""Arrays that stay on disk, and how to read them without filling memory; private."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from keras_multvae.data.columns.csr import LARGEST, SMALLEST, csr_over, in_range, runs
from keras_multvae.typing import Clicks


def keep_open(array: Any, file: BinaryIO, offset: int) -> np.ndarray:
    """The array, mapped from a file that stays open for as long as it is there."""
    if hasattr(os, "pread"):
        # On the array itself: a view of it begins elsewhere in the file and has none.
        array.source = file, offset
    return array


def is_mapped(array: np.ndarray) -> bool:
    """Whether the array is on disk."""
    return isinstance(array, np.memmap)


def check_clean(matrix: Clicks) -> None:
    """Raises ValueError for a CSR matrix out of order, with repeated entries or zeros.

    What is mapped was written by us, or verified when it was opened.
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

    What is read through a mapping counts as memory of the process until the system
    wants it back: an epoch in random order would bring in the whole matrix. Mapped
    arrays are therefore read from their file.
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
    """The array in pieces, of which a mapped one holds no more than one in memory."""
    for start in range(0, len(array), size):
        yield piece(array, start, min(start + size, len(array)))


def in_memory(matrix: Clicks) -> Any:
    """A CSR matrix without mapped arrays, for routines that go through all of it.

    A mapping of a file that was cut short meanwhile ends the process (SIGBUS); reading
    the file is an error.
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
