"""Training by a recipe; imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Curves": "curves",
    "LinearPath": "additions",
    "Recipe": "recipe",
    "SlimUpdates": "additions",
    "TrainingRecord": "record",
    "add_linear_path": "linear_path",
    "train": "trainer",
}

__all__ = [
    "Curves",
    "LinearPath",
    "Recipe",
    "SlimUpdates",
    "TrainingRecord",
    "add_linear_path",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
