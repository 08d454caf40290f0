"""Products, the multinomial likelihood and Adam on TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import keras
import numpy as np
import tensorflow as tf

from keras_multvae.backend.contract import MIN_EXACT, Structure
from keras_multvae.backend.tensorflow.sparse import (
    sparse_dense_matmul as sparse_dense_matmul,
)
from keras_multvae.backend.wide import widen
from keras_multvae.compat import without_autotuning as without_autotuning
from keras_multvae.typing import Seeds, Tensor, Variable

# Measured: batches of this size are faster there than those of 32 MiB.
REUSED_BYTES = 128 << 20
ROUNDS_EACH_RESULT = True
# How many of an item's weights are added at a time, for all clicks of a batch.
WEIGHTS = 32


def segment_ids(entries_per_user: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    ends = tf.cumsum(tf.cast(entries_per_user, tf.int32))
    entries = tf.range(tf.shape(item_ids)[0])
    found = tf.searchsorted(ends, entries, side="right")
    # Only symbolic calls, whose sizes are arbitrary, can point past the last user.
    return tf.minimum(found, tf.shape(entries_per_user)[0] - 1)


def to_dense(
    segment_ids: Tensor, item_ids: Tensor, values: Tensor, shape: tuple[Tensor, int]
) -> Tensor:
    """See `keras_multvae.backend`."""
    return tf.scatter_nd(tf.stack([segment_ids, item_ids], axis=1), values, shape)


def add_item_weights(
    logits: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
    values: Tensor,
    lengths: Tensor,
    columns: Tensor,
    weights: Tensor,
) -> Tensor:
    """See `keras_multvae.backend`."""
    starts = tf.gather(tf.cumsum(lengths) - lengths, item_ids)
    # Padding has no weights.
    lengths = tf.where(values == 0, 0, tf.gather(lengths, item_ids))
    segment_ids = tf.cast(segment_ids, columns.dtype)[:, None]

    def add(part: Tensor, logits: Tensor) -> Tensor:
        offsets = part * WEIGHTS + tf.range(WEIGHTS)
        known = offsets < lengths[:, None]
        places = tf.where(known, starts[:, None] + offsets, 0)
        targets = tf.gather(columns, places)
        added = tf.where(known, tf.gather(weights, places) * values[:, None], 0.0)
        place = tf.stack(
            [tf.broadcast_to(segment_ids, tf.shape(targets)), targets], axis=2
        )
        return part + 1, tf.tensor_scatter_nd_add(logits, place, added)

    parts = (tf.reduce_max(lengths) + WEIGHTS - 1) // WEIGHTS
    shapes = (tf.TensorShape([]), logits.shape)
    return tf.while_loop(
        lambda part, _: part < parts, add, (0, logits), shape_invariants=shapes
    )[1]


def affine(inputs: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    # Tensors, as a custom gradient takes variables by another way.
    inputs, kernel, bias = map(tf.convert_to_tensor, (inputs, kernel, bias))
    if kernel.dtype.size == 2:
        return _narrow_affine(inputs, kernel, bias)
    return tf.nn.bias_add(tf.matmul(inputs, kernel), bias)


@tf.custom_gradient
def _narrow_affine(inputs: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """`affine` in 16 bits, where TensorFlow's own gradient of the bias is slow."""

    def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
        ones = tf.ones((1, tf.shape(upstream)[0]), upstream.dtype)
        return (
            tf.matmul(upstream, kernel, transpose_b=True),
            tf.matmul(inputs, upstream, transpose_a=True),
            tf.squeeze(tf.matmul(ones, upstream), 0),
        )

    return tf.nn.bias_add(tf.matmul(inputs, kernel), bias), gradient


def segment_sum(values: Tensor, segment_ids: Tensor, users: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return tf.math.unsorted_segment_sum(values, segment_ids, users)


def normal(shape: object, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    return keras.random.normal(shape, dtype="float32", seed=seeds)


def dropout(values: Tensor, rate: float, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    return keras.random.dropout(values, rate, seed=seeds)


def gather_nd(matrix: Tensor, segment_ids: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return tf.gather_nd(matrix, tf.stack([segment_ids, item_ids], axis=1))


def multinomial_nll(
    logits: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""
    place = tf.stack([segment_ids, item_ids], axis=1)

    @tf.custom_gradient
    def nll(logits: Tensor) -> Tensor:
        num_users = tf.shape(logits)[0]
        pi = tf.nn.softmax(logits)
        clicked = tf.gather_nd(pi, place)
        # Equation 2 as it stands, unless a probability has lost digits to underflow.
        log_pi = tf.cond(
            tf.reduce_all(clicked > MIN_EXACT),
            lambda: tf.math.log(clicked),
            lambda: (
                tf.gather_nd(logits, place)
                - tf.gather(_log_norm(logits, pi), segment_ids)
            ),
        )

        def gradient(upstream: Tensor) -> Tensor:
            # d NLL_u / d f_ui = N_u pi_i(z_u) - x_ui
            total = tf.math.unsorted_segment_sum(values, segment_ids, num_users)
            expected = pi * (upstream * total)[:, None]
            seen = values * tf.gather(upstream, segment_ids)
            return tf.tensor_scatter_nd_sub(expected, place, seen)

        likelihood = tf.math.unsorted_segment_sum(
            values * log_pi, segment_ids, num_users
        )
        return -likelihood, gradient

    return nll(logits)


def log_sum_exp(logits: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    logits = widen(logits)
    # Without subtracting the maximum: fewer passes, and as exact unless a sum leaves
    # float32's range.
    total = tf.reduce_sum(tf.exp(logits), 1)
    return tf.cond(
        tf.reduce_all((total > MIN_EXACT) & (total < total.dtype.max)),
        lambda: tf.math.log(total),
        lambda: _log_norm(logits, tf.nn.softmax(logits)),
    )


def _log_norm(logits: Tensor, pi: Tensor) -> Tensor:
    """The log of the softmax' denominator.

    The largest pi of a user is at least 1 / items: its logarithm is safe.
    """
    return tf.reduce_max(logits, 1) - tf.math.log(tf.reduce_max(pi, 1))


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend`."""
    # Compiled by XLA, it sorts 0 before -0.
    return tf.math.top_k(tf.where(scores == 0, tf.zeros_like(scores), scores), k)


def fuses_adam(gradient: Tensor, variable: Variable) -> bool:
    """See `keras_multvae.backend`."""
    return not isinstance(gradient, tf.IndexedSlices)


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
    """See `keras_multvae.backend`."""
    step = tf.cast(step, variable.dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum.value.handle,
        v=velocity.value.handle,
        beta1_power=tf.pow(tf.cast(beta_1, step.dtype), step),
        beta2_power=tf.pow(tf.cast(beta_2, step.dtype), step),
        lr=tf.cast(learning_rate, variable.dtype),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=epsilon,
        grad=tf.cast(gradient, variable.dtype),
    )


def without_gradients(
    condition: Tensor, variables: Sequence[Variable]
) -> AbstractContextManager[None]:
    """See `keras_multvae.backend`: the graph has one form for all steps."""
    return contextlib.nullcontext()


def run_if(condition: Tensor, function: Callable[[], object]) -> None:
    """See `keras_multvae.backend`."""

    def run() -> Tensor:
        function()
        return tf.constant(True)

    # Both branches must give a tensor.
    tf.cond(condition, run, lambda: tf.constant(False))


def assign_if(
    condition: Tensor,
    variables: Sequence[Variable],
    values: Callable[[], Sequence[Tensor]],
) -> None:
    """See `keras_multvae.backend`."""

    def assign() -> None:
        for variable, value in zip(variables, values(), strict=True):
            variable.assign(value)

    run_if(condition, assign)


retain_freed_memory = contextlib.nullcontext
on_host = contextlib.nullcontext


def has_accelerator() -> bool:
    """See `keras_multvae.backend`."""
    return bool(tf.config.list_physical_devices("GPU"))


def upload(batch: Structure) -> Structure:
    """See `keras_multvae.backend`: Keras' own loop is ahead of the step."""
    return batch


def num_replicas() -> int:
    """See `keras_multvae.backend`."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def compile_inference(
    function: Callable[[Tensor], tuple[Tensor, ...]], variables: Sequence[Variable]
) -> Callable[[Tensor], tuple[np.ndarray, ...]]:
    """See `keras_multvae.backend`."""
    compiled = tf.function(function, reduce_retracing=True)
    # Not .numpy(), which copies.
    return lambda inputs: tf.nest.map_structure(np.asarray, compiled(inputs))
