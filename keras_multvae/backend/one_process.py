"""What `jax_process.py` offers, for backends on which a model has one process."""

from __future__ import annotations

import keras
import numpy as np

from keras_multvae.typing import Variable


def is_first() -> bool:
    """See `keras_multvae.backend`."""
    return True


def whole(variable: Variable) -> np.ndarray:
    """See `keras_multvae.backend`."""
    return keras.ops.convert_to_numpy(variable)


def agreed(value: bool) -> bool:
    """See `keras_multvae.backend`."""
    return value
