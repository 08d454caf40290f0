"""Baselines, imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "EASE": "ease",
    "IALS": "ials",
    "Baseline": "base",
    "Popularity": "popularity",
    "SparseEASE": "sparse_ease",
}

__all__ = ["EASE", "IALS", "Baseline", "Popularity", "SparseEASE"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
