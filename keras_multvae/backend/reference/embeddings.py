"""The operations of `backend.contract.EmbeddingOperations` in keras.ops, plainly."""

from __future__ import annotations

import keras
from keras import ops

from keras_multvae.backend.adam import adam_step
from keras_multvae.typing import Tensor, Variable

COMPILES = False
# Binary digits of bfloat16 after the leading one.
DIGITS = 7


def unique_ids(item_ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend.contract`."""
    return ops.unique(item_ids, return_inverse=True)


def embedding_lookup(embeddings: Variable, ids: Tensor, sparse: bool) -> Tensor:
    """See `keras_multvae.backend.contract`; the gradients are dense."""
    return ops.cast(ops.take(ops.convert_to_tensor(embeddings), ids, axis=0), "float32")


def entry_products(
    hidden: Tensor,
    embeddings: Tensor,
    entries_per_user: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    users = ops.take(hidden, segment_ids, axis=0)
    return ops.sum(users * ops.take(embeddings, item_ids, axis=0), axis=1)


def sparse_gradient(gradient: Tensor) -> tuple[Tensor, Tensor] | None:
    """See `keras_multvae.backend.contract`: all gradients are dense."""
    return None


def sparse_adam_update(
    variable: Variable,
    momentum: Variable,
    velocity: Variable,
    ids: Tensor,
    gradient: Tensor,
    step: Tensor,
    seed: Tensor,
    learning_rate: Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """See `keras_multvae.backend.contract`."""
    variables = (variable, momentum, velocity)
    weights, m, v = (embedding_lookup(each, ids, sparse=False) for each in variables)
    after = adam_step(
        weights, m, v, gradient, step, learning_rate, beta_1, beta_2, epsilon
    )
    for number, (each, rows) in enumerate(zip(variables, after, strict=True)):
        if keras.backend.standardize_dtype(each.dtype) == "bfloat16":
            rows = round_at_random(rows, 3 * seed + number)
        matrix = ops.convert_to_tensor(each)
        each.assign(ops.scatter_update(matrix, ids[:, None], rows))


def round_at_random(values: Tensor, seed: Tensor) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    size = ops.abs(values)
    # Zeros have no exponent; any stand-in will do.
    exponent = ops.floor(ops.log2(ops.where(size > 0, size, ops.ones_like(size))))
    # The logarithm may have been rounded across a power of two.
    exponent = exponent - ops.cast(ops.power(2.0, exponent) > size, "float32")
    exponent = exponent + ops.cast(ops.power(2.0, exponent + 1) <= size, "float32")
    unit = ops.power(2.0, exponent - DIGITS)
    units = values / unit
    up = keras.random.uniform(ops.shape(values), seed=int(seed)) < units % 1
    return ops.cast((ops.floor(units) + ops.cast(up, "float32")) * unit, "bfloat16")
