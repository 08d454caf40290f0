"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; absent on other machines."""
    if not SHARED.is_dir():
        pytest.skip("the real data folder is not on this machine")
    return SHARED
