"""Imports Keras, and says what to do where its backend is not installed."""

from __future__ import annotations

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    name = (error.name or "").partition(".")[0]
    if name not in ("tensorflow", "jax", "torch"):
        raise
    raise ImportError(
        f"Keras runs on {name} unless told otherwise, and {name} is not installed. "
        f'Install it with: pip install "keras_multvae[{name}]"; or choose a backend '
        "that is installed by the environment variable KERAS_BACKEND: tensorflow, jax "
        "or torch."
    ) from error
