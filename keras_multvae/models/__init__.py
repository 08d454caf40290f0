"""The models that Keras trains, imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Autoencoder": "autoencoder",
    "GaussianAutoencoder": "gaussian",
    "MultDAE": "multdae",
    "MultVAE": "multvae",
    "RankingModel": "base",
    "RecVAE": "recvae",
    "SampledSoftmax": "heads",
    "VariationalModel": "variational",
}

__all__ = [
    "Autoencoder",
    "GaussianAutoencoder",
    "MultDAE",
    "MultVAE",
    "RankingModel",
    "RecVAE",
    "SampledSoftmax",
    "VariationalModel",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
