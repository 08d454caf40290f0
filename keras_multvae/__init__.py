"""Mult-VAE for implicit feedback, on Keras 3: TensorFlow, JAX and PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from keras_multvae import start

__version__ = "0.1.0"

# Every public name, and the module that has it.
_PUBLIC = {
    "EASE": "baselines",
    "IALS": "baselines",
    "AlternatingAdam": "optimizers",
    "Autoencoder": "models",
    "Baseline": "baselines",
    "BetaAnneal": "callbacks",
    "Comparison": "selection",
    "ConstantBeta": "schedules",
    "CyclicalBeta": "schedules",
    "FreezeBeta": "callbacks",
    "FusedAdam": "optimizers",
    "GaussianAutoencoder": "models",
    "GaussianNLL": "losses",
    "ImplicitSLIM": "callbacks",
    "InteractionEncoder": "layers",
    "ItemDecoder": "layers",
    "Likelihood": "losses",
    "ItemFeatures": "features",
    "LinearBeta": "schedules",
    "LinearPath": "training",
    "LogisticNLL": "losses",
    "ModelCard": "card",
    "MultDAE": "models",
    "MultVAE": "models",
    "MultinomialNLL": "losses",
    "NDCGAtK": "metrics",
    "Popularity": "baselines",
    "RankingModel": "models",
    "RankingReport": "evaluation",
    "RecVAE": "models",
    "RecallAtK": "metrics",
    "Recipe": "training",
    "Recommendations": "recommender",
    "Recommender": "recommender",
    "Reranking": "reranking",
    "SampledSoftmax": "models",
    "Sampling": "layers",
    "ServingClient": "serving.client",
    "Settings": "settings",
    "SlimUpdates": "training",
    "SparseEASE": "baselines",
    "Tuning": "tuning",
    "VariationalModel": "models",
    "add_linear_path": "training",
    "compare": "selection",
    "evaluate_ranking": "evaluation",
    "export_onnx": "serving",
    "export_saved_model": "serving",
    "find_beta_cap": "selection",
    "recommend_on_ray": "cluster",
    "register_model": "registry",
    "setting": "settings",
    "train": "training",
    "tune": "tuning",
    "write_serving_config": "serving",
}

__all__ = list(_PUBLIC)


def _register_all() -> None:
    """Imports what Keras must know by name to load saved models."""
    start.choose_backend()
    for module in ("callbacks", "losses", "metrics", "optimizers"):
        import_module(f"{__name__}.{module}")
    for module in ("models.multvae", "models.multdae", "models.recvae"):
        import_module(f"{__name__}.{module}")


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        _register_all()
        value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


if not start.is_command_line():
    _register_all()
