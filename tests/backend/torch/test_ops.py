"""What is kept in memory between steps is given back after training."""

from __future__ import annotations

import platform
from pathlib import Path

import keras
import pytest

from keras_multvae import backend

STATM = Path("/proc/self/statm")
MIB = 1 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    import resource

    return int(STATM.read_text().split()[1]) * resource.getpagesize()


def freed(size: int = 64) -> int:
    """How much less is in memory once so many MiB that were written to are let go."""
    import torch

    block = torch.ones(size * MIB // 4)
    held = resident()
    del block
    return held - resident()


@pytest.mark.skipif(
    keras.backend.backend() != "torch"
    or platform.libc_ver()[0] != "glibc"
    or not STATM.exists(),
    reason="a matter of PyTorch with glibc on Linux",
)
def test_memory_is_kept_until_the_outermost_context_ends():
    assert freed() > 60 * MIB
    before = resident()
    with backend.retain_freed_memory():
        assert freed() < 4 * MIB
        with backend.retain_freed_memory():
            assert freed() < 4 * MIB
        assert freed() < 4 * MIB
    assert resident() < before + 8 * MIB
    # More than before: 64 MiB may find their old place, which ends below whatever has
    # been put above it, and is kept then.
    assert freed(256) > 250 * MIB
