"""Choosing model and settings by trials, in a given time; Optuna does the guessing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {"Tuning": "report", "tune": "tuner"}

__all__ = ["Tuning", "tune"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
