"""The operations of `backend.contract.Operations` in keras.ops, plainly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import keras
import numpy as np
from keras import ops

from keras_multvae.backend.adam import adam_step
from keras_multvae.backend.contract import Structure
from keras_multvae.backend.wide import widen
from keras_multvae.typing import Seeds, Tensor, Variable

REUSED_BYTES = 32 << 20
ROUNDS_EACH_RESULT = True
retain_freed_memory = contextlib.nullcontext
without_autotuning = contextlib.nullcontext
on_host = contextlib.nullcontext


def segment_ids(entries_per_user: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    ends = ops.cumsum(ops.cast(entries_per_user, "int32"))
    entries = ops.arange(ops.shape(item_ids)[0], dtype="int32")
    return ops.searchsorted(ends, entries, side="right")


def sparse_dense_matmul(
    entries_per_user: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
    values: Tensor,
    kernel: Tensor,
) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    shape = (ops.shape(entries_per_user)[0], ops.shape(kernel)[0])
    clicks = to_dense(segment_ids, item_ids, ops.cast(values, kernel.dtype), shape)
    return ops.matmul(clicks, kernel)


def affine(inputs: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    return ops.matmul(inputs, kernel) + bias


def to_dense(
    segment_ids: Tensor, item_ids: Tensor, values: Tensor, shape: tuple[Tensor, int]
) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    places = _cell(segment_ids, item_ids, shape[1])
    cells = ops.segment_sum(values, places, num_segments=shape[0] * shape[1])
    return ops.reshape(cells, shape)


def add_item_weights(
    logits: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
    values: Tensor,
    lengths: Tensor,
    columns: Tensor,
    weights: Tensor,
) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    users, items = ops.shape(logits)
    clicks = to_dense(segment_ids, item_ids, values, (users, items))
    rows = ops.repeat(ops.arange(items, dtype="int32"), lengths, axis=0)
    return logits + ops.matmul(clicks, to_dense(rows, columns, weights, (items, items)))


def segment_sum(values: Tensor, segment_ids: Tensor, users: Tensor) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    return ops.segment_sum(values, segment_ids, num_segments=users)


def normal(shape: Sequence[int], seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    return keras.random.normal(shape, dtype="float32", seed=seeds)


def dropout(values: Tensor, rate: float, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    return keras.random.dropout(values, rate, seed=seeds)


def gather_nd(matrix: Tensor, segment_ids: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    places = _cell(segment_ids, item_ids, ops.shape(matrix)[1])
    return ops.take(ops.reshape(matrix, (-1,)), places)


def multinomial_nll(
    logits: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor
) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    clicks = to_dense(segment_ids, item_ids, values, ops.shape(logits))
    return -ops.sum(clicks * ops.log_softmax(logits, axis=1), axis=1)


def log_sum_exp(logits: Tensor) -> Tensor:
    """See `keras_multvae.backend.contract`."""
    return ops.logsumexp(widen(logits), axis=1)


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend.contract`; a stable sort of whole rows."""
    scores = ops.where(scores == 0, ops.zeros_like(scores), scores)
    indices = ops.argsort(-scores, axis=1)[:, :k]
    return ops.take_along_axis(scores, indices, axis=1), indices


def fuses_adam(gradient: Tensor, variable: Variable) -> bool:
    """See `keras_multvae.backend.contract`."""
    return True


def adam_update(
    variable: Variable,
    momentum: Variable,
    velocity: Variable,
    gradient: Tensor,
    step: Tensor,
    learning_rate: Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """See `keras_multvae.backend.contract`."""
    weights, m, v = map(ops.convert_to_tensor, (variable, momentum, velocity))
    after = adam_step(
        weights, m, v, gradient, step, learning_rate, beta_1, beta_2, epsilon
    )
    for each, value in zip((variable, momentum, velocity), after, strict=True):
        each.assign(value)


def without_gradients(
    condition: Tensor, variables: Sequence[Variable]
) -> AbstractContextManager[None]:
    """See `keras_multvae.backend.contract`: computes all gradients."""
    return contextlib.nullcontext()


def run_if(condition: Tensor, function: Callable[[], object]) -> None:
    """See `keras_multvae.backend.contract`."""
    if bool(condition):
        function()


def assign_if(
    condition: Tensor,
    variables: Sequence[Variable],
    values: Callable[[], Sequence[Tensor]],
) -> None:
    """See `keras_multvae.backend.contract`."""
    if bool(condition):
        for variable, value in zip(variables, values(), strict=True):
            variable.assign(value)


def has_accelerator() -> bool:
    """See `keras_multvae.backend.contract`."""
    return False


def upload(batch: Structure) -> Structure:
    """See `keras_multvae.backend.contract`."""
    return batch


def num_replicas() -> int:
    """See `keras_multvae.backend.contract`."""
    return 1


def compile_inference(
    function: Callable[[Tensor], tuple[Tensor, ...]], variables: Sequence[Variable]
) -> Callable[[Tensor], tuple[np.ndarray, ...]]:
    """See `keras_multvae.backend.contract`; not compiled."""
    return lambda inputs: tuple(map(ops.convert_to_numpy, function(inputs)))


def _cell(segment_ids: Tensor, item_ids: Tensor, items: Tensor) -> Tensor:
    """The place of each entry in a flattened (users, items) matrix."""
    return ops.cast(segment_ids, "int32") * items + ops.cast(item_ids, "int32")
