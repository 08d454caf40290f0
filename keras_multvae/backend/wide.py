"""float32 for what is in 16 bits."""

from __future__ import annotations

import keras
from keras import ops

from keras_multvae.typing import Tensor


def wide_dtype(dtype: object) -> str:
    """float32 for 16-bit dtypes, otherwise the dtype itself."""
    return keras.backend.result_type(dtype, "float32")


def widen(array: Tensor) -> Tensor:
    """The array in its `wide_dtype`."""
    return ops.cast(array, wide_dtype(array.dtype))
