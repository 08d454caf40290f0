"""Mult-VAE for implicit feedback, on Keras 3: TensorFlow, JAX and PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from keras_multvae import start  # noqa: F401  (first: it imports Keras)

# Imported at once, so that Keras can load saved models by the registered names.
from keras_multvae.baselines import EASE, IALS, Popularity
from keras_multvae.callbacks import BetaAnneal, FreezeBeta
from keras_multvae.layers import InteractionEncoder, ItemDecoder, Sampling
from keras_multvae.losses import GaussianNLL, LogisticNLL, MultinomialNLL
from keras_multvae.metrics import NDCGAtK, RecallAtK
from keras_multvae.models import MultDAE, MultVAE
from keras_multvae.optimizers import FusedAdam
from keras_multvae.schedules import ConstantBeta, CyclicalBeta, LinearBeta

__version__ = "0.1.0"

_LAZY = {
    "Comparison": "selection",
    "compare": "selection",
    "find_beta_cap": "selection",
    "recommend_on_ray": "cluster",
    "evaluate_ranking": "evaluation",
    "RankingReport": "evaluation",
    "Recommender": "recommender",
    "Recommendations": "recommender",
    "ModelCard": "serving",
    "export_saved_model": "serving",
    "ServingClient": "serving.client",
    "write_serving_config": "serving",
}

__all__ = [
    "EASE",
    "IALS",
    "BetaAnneal",
    "Comparison",
    "ConstantBeta",
    "CyclicalBeta",
    "FreezeBeta",
    "FusedAdam",
    "GaussianNLL",
    "InteractionEncoder",
    "ItemDecoder",
    "LinearBeta",
    "LogisticNLL",
    "ModelCard",
    "MultDAE",
    "MultVAE",
    "MultinomialNLL",
    "NDCGAtK",
    "Popularity",
    "RankingReport",
    "RecallAtK",
    "Recommendations",
    "Recommender",
    "Sampling",
    "ServingClient",
    "compare",
    "evaluate_ranking",
    "export_saved_model",
    "find_beta_cap",
    "recommend_on_ray",
    "write_serving_config",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
