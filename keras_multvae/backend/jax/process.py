"""Several processes and devices that train one model, on JAX."""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils

from keras_multvae.typing import Variable


def is_main_process() -> bool:
    """See `keras_multvae.backend`."""
    return jax.process_index() == 0


def to_host(variable: Variable) -> np.ndarray:
    """See `keras_multvae.backend`."""
    value = variable.value
    if value.is_fully_addressable or value.is_fully_replicated:
        return np.asarray(value)
    return np.asarray(multihost_utils.process_allgather(value, tiled=True))


def broadcast(value: bool) -> bool:
    """See `keras_multvae.backend`."""
    return bool(multihost_utils.broadcast_one_to_all(np.array(value)))
