"""Mult-VAE for implicit feedback, on Keras 3: TensorFlow, JAX and PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Loaded when first used: importing the package costs no more than Keras itself, and
# nothing that a user does not touch.
_PUBLIC = {
    "MultVAE": "models",
    "Popularity": "models",
    "Sampling": "layers",
    "InteractionEncoder": "layers",
    "ItemDecoder": "layers",
    "BetaAnneal": "callbacks",
    "LinearBeta": "schedules",
    "ConstantBeta": "schedules",
    "CyclicalBeta": "schedules",
    "MultinomialNLL": "losses",
    "GaussianNLL": "losses",
    "LogisticNLL": "losses",
    "RecallAtK": "metrics",
    "NDCGAtK": "metrics",
    "evaluate_ranking": "evaluation",
    "RankingReport": "evaluation",
    "Recommender": "recommender",
    "Recommendations": "recommender",
    "export_saved_model": "serving",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
