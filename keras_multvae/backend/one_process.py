"""What `jax_process.py` offers, for backends on which a model has one process."""

from __future__ import annotations

import keras
import numpy as np

from keras_multvae.typing import Variable


def is_main_process() -> bool:
    """See `keras_multvae.backend`."""
    return True


def to_host(variable: Variable) -> np.ndarray:
    """See `keras_multvae.backend`."""
    return keras.ops.convert_to_numpy(variable)


def broadcast(value: bool) -> bool:
    """See `keras_multvae.backend`."""
    return value
