"""What is known of items besides clicks: labels, words, numbers, vectors."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from keras_multvae.features.kinds import KINDS

_LAZY = {"Feature": "feature", "ItemFeatures": "item_features"}

__all__ = ["KINDS", "Feature", "ItemFeatures"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
