"""What `jax_process.py` offers, for backends on which a model has one process."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def is_first() -> bool:
    """See `keras_multvae.backend`."""
    return True


def whole(variable: Any) -> np.ndarray:
    """See `keras_multvae.backend`."""
    return keras.ops.convert_to_numpy(variable)


def agreed(value: bool) -> bool:
    """See `keras_multvae.backend`."""
    return value
