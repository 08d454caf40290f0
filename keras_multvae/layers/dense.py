"""The dense stack that encoder and decoder share, initialised as in the paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count

import keras
from keras import ops

from keras_multvae import backend
from keras_multvae.backend.wide import wide_dtype
from keras_multvae.memory import require_memory
from keras_multvae.typing import Shape, Tensor


class Dense(keras.layers.Dense):
    """`keras.layers.Dense` on rows (users, units), with the backend's fastest product.

    The name is part of the stored models' layout.
    """

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """See `keras.layers.Dense`."""
        kernel, bias = map(ops.convert_to_tensor, (self.kernel, self.bias))
        return self.activation(backend.affine(inputs, kernel, bias))


def seeds(seed: int | None) -> Iterator[int | None]:
    """Yields distinct seeds derived from one seed, or None for ever."""
    return (None if seed is None else 1000 * int(seed) + i for i in count())


def kernel_initializer(source: Iterator[int | None]) -> keras.Initializer:
    """Glorot uniform; see docs/method.md, recipe."""
    return keras.initializers.GlorotUniform(next(source))


class EmbeddingInitializer(keras.initializers.GlorotUniform):
    """Glorot uniform, drawn in float32 whatever the dtype of the embeddings.

    Draws in 16 bits would have only 128 different values.
    """

    def __call__(self, shape: Shape, dtype: str | None = None) -> Tensor:
        """See `keras.Initializer`."""
        dtype = dtype or keras.config.floatx()
        if not backend.has_accelerator():
            require_memory(
                4 * math.prod(each or 0 for each in shape),
                f"Embeddings of {shape[0]:,} items with {shape[1]:,} numbers each",
                "Take smaller `hidden_dims` or a smaller `latent_dim`, or leave out "
                "rare items (--k-core).",
            )
        return ops.cast(super().__call__(shape, wide_dtype(dtype)), dtype)


def bias_initializer(source: Iterator[int | None]) -> keras.Initializer:
    """A narrow truncated normal; see docs/method.md, recipe."""
    return keras.initializers.TruncatedNormal(stddev=0.001, seed=next(source))


def kernel_regularizer(l2: float) -> keras.Regularizer | None:
    """L2 regularisation of a kernel; None for 0, which adds nothing to `losses`."""
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

    `between` replaces tanh by another activation, or by none.

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
