"""Arrays that stay on disk, and how to read them without filling memory; private."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_multvae.data.csr import runs


def map_array(path: Path) -> np.ndarray:
    """Maps a `.npy` file, read-only, and keeps it open for `take_runs`."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if hasattr(os, "pread"):
        # On the array itself: a view of it begins elsewhere in the file and has none.
        array.source = path.open("rb"), array.offset
    return array


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


def slices(array: np.ndarray, size: int = 1 << 18) -> Iterator[np.ndarray]:
    """The array in pieces, of which a mapped one holds no more than one in memory."""
    for start in range(0, len(array), size):
        count = min(size, len(array) - start)
        yield take_runs(array, np.array([start]), np.array([count]))
