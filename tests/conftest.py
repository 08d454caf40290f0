"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse


def hurry_xla():
    """XLA would optimise for seconds what a test runs for milliseconds.

    Many tests, and many processes of tests, compile the same step: it is kept.
    JAX_DISABLE_MOST_OPTIMIZATIONS=0, as in `make test-all`, has it do so, as for users.
    """
    is_jax = os.environ.get("KERAS_BACKEND") == "jax"
    if not is_jax or "JAX_DISABLE_MOST_OPTIMIZATIONS" in os.environ:
        return
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    cache = Path(__file__).parents[1] / ".pytest_cache" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    # XLA ends a process for a flag that it does not know: only where this was tried.
    if version("jaxlib").startswith("0.10."):
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false"


hurry_xla()

# One served model for the tests of the server and those of the client.
pytest_plugins = ["served"]

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; absent on other machines."""
    if not SHARED.is_dir():
        pytest.skip("the real data folder is not on this machine")
    return SHARED


def make_clicks(users: int, items: int, density: float = 0.2, seed: int = 0):
    """A random binary CSR matrix; its third user, if any, has no clicks."""
    clicks = sparse.random(
        users, items, density, format="lil", rng=seed, dtype=np.float32
    )
    if users > 2:
        clicks[2] = 0
    clicks = clicks.tocsr()
    clicks.data[:] = 1
    return clicks


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files of a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pairs(interactions):
    """All (user, item) of interactions, by their ids."""
    return set(
        zip(
            interactions.users.ids[interactions.rows].tolist(),
            interactions.items.ids[interactions.matrix.indices].tolist(),
            strict=True,
        )
    )


@pytest.fixture
def clicks():
    """40 users, 12 items; user 2 has no clicks."""
    return make_clicks(40, 12)
