"""The dense stack that encoder and decoder share, initialised as in the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import keras
from keras import ops

from keras_multvae import backend
from keras_multvae.typing import Tensor


class Dense(keras.layers.Dense):
    """`keras.layers.Dense` on rows (users, units), as the backend does it fastest.

    The name is part of the stored models' layout.
    """

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """See `keras.layers.Dense`."""
        kernel, bias = map(ops.convert_to_tensor, (self.kernel, self.bias))
        return self.activation(backend.affine(inputs, kernel, bias))


def seeds(seed: int | None) -> Iterator[int | None]:
    """Endless distinct seeds from one; all None from None."""
    return (None if seed is None else 1000 * int(seed) + i for i in count())


def kernel_initializer(source: Iterator[int | None]) -> keras.Initializer:
    """Glorot uniform; see docs/method.md, recipe."""
    return keras.initializers.GlorotUniform(next(source))


class EmbeddingInitializer(keras.initializers.GlorotUniform):
    """Glorot uniform, drawn in float32 whatever the dtype of the table.

    A 16-bit draw would have 128 different values.
    """

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """See `keras.Initializer`."""
        dtype = dtype or keras.config.floatx()
        return ops.cast(super().__call__(shape, wide_dtype(dtype)), dtype)


def bias_initializer(source: Iterator[int | None]) -> keras.Initializer:
    """A narrow truncated normal; see docs/method.md, recipe."""
    return keras.initializers.TruncatedNormal(stddev=0.001, seed=next(source))


def kernel_regularizer(l2: float) -> keras.Regularizer | None:
    """L2 on a kernel; None for 0, so that `losses` holds nothing that is not there."""
    return keras.regularizers.L2(l2) if l2 else None


def tanh_stack(
    input_dim: int,
    units: Sequence[int],
    source: Iterator[int | None],
    dtype: object,
    l2: float = 0.0,
    last: str | None = None,
    last_name: str | None = None,
    between: str | None = "tanh",
) -> list[Dense]:
    """Built `Dense` layers of the given sizes: tanh between layers, `last` on the last.

    `between` is another activation than tanh, or None.

    An activation belongs to the layer that it follows.
    """
    layers = []
    for i, size in enumerate(units):
        layer = Dense(
            size,
            activation=between if i < len(units) - 1 else last,
            name=None if i < len(units) - 1 else last_name,
            dtype=dtype,
            kernel_initializer=kernel_initializer(source),
            bias_initializer=bias_initializer(source),
            kernel_regularizer=kernel_regularizer(l2),
        )
        layer.build((None, input_dim))
        layers.append(layer)
        input_dim = size
    return layers


def wide_dtype(compute_dtype: str) -> str:
    """float32 for 16-bit compute types, else the type itself."""
    return keras.backend.result_type(compute_dtype, "float32")
