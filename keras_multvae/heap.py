"""The heap of glibc in a training: what one step frees is there for the next.

glibc gives a block of megabytes back to the system as soon as it is freed. The next
step then waits for its logits and gradients to be mapped and cleared anew, up to a
third of its time.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# Parameters of mallopt and their defaults, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
DEFAULTS = {M_TRIM_THRESHOLD: 128 << 10, M_MMAP_MAX: 65536}
# One entry for each `retain_freed_memory` that is open.
_keepers: list[ctypes.CDLL] = []


@contextlib.contextmanager
def retain_freed_memory() -> Iterator[None]:
    """A context in which freed memory is retained; nothing without glibc."""
    libc = _glibc()
    if libc is None:
        yield
        return
    _keepers.append(libc)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        _keepers.pop()
        # A callback of `fit` may have ranked; the outer context of `fit` is still open.
        if not _keepers:
            for parameter, default in DEFAULTS.items():
                libc.mallopt(parameter, default)
            trim()


def trim() -> None:
    """Returns freed memory to the system; nothing without glibc."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def share_one_heap() -> None:
    """Makes new threads take memory from the main heap, whatever their number.

    Other heaps are of at most 64 MiB: larger blocks are mapped anew each time. XLA
    takes the memory of a step in a thread of its own, so this must be called before
    that starts; of threads that have a heap already nothing changes.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(M_ARENA_MAX, 1)


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
