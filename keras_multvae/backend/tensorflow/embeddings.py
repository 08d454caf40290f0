"""Item tables of which a step reads and writes a few rows, on TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_multvae.backend.adam import adam_step
from keras_multvae.typing import Tensor, Variable

# XLA has no set of distinct ids, as their number would be known too late.
COMPILES = False


def unique_ids(item_ids: Tensor) -> tuple[Any, Any]:
    """See `keras_multvae.backend`."""
    ids, places = tf.unique(item_ids)
    return ids, places


def embedding_lookup(table: Tensor, ids: Tensor, sparse: bool) -> Tensor:
    """See `keras_multvae.backend`."""
    return _wide_rows(table.value, ids)


def entry_products(
    hidden: Tensor, table: Tensor, entries_per_user: Tensor, rows: Tensor, item_ids: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""

    @tf.custom_gradient
    def products(hidden: Tensor, table: Tensor) -> Tensor:
        def gradient(upstream: Tensor) -> Tensor:
            weights = upstream[:, None]
            return tf.math.unsorted_segment_sum(
                tf.gather(table, item_ids) * weights, rows, tf.shape(hidden)[0]
            ), tf.math.unsorted_segment_sum(
                tf.gather(hidden, rows) * weights, item_ids, tf.shape(table)[0]
            )

        pairs = tf.gather(hidden, rows) * tf.gather(table, item_ids)
        return tf.reduce_sum(pairs, axis=1), gradient

    return products(hidden, table)


def sparse_gradient(gradient: Tensor) -> tuple[Any, Any] | None:
    """See `keras_multvae.backend`."""
    if not isinstance(gradient, tf.IndexedSlices):
        return None
    # The ids are distinct, as `embedding_lookup` got them: there is nothing to add up.
    return gradient.indices, gradient.values


def sparse_adam_update(
    variable: Variable,
    momentum: Variable,
    velocity: Variable,
    ids: Tensor,
    gradient: Tensor,
    step: Tensor,
    seed: Any,
    **rates: Any,
) -> None:
    """See `keras_multvae.backend`."""
    tables = (variable, momentum.value, velocity.value)
    weights, m, v = (_wide_rows(table, ids) for table in tables)
    after = adam_step(weights, m, v, gradient, step, **rates)
    for number, (table, rows) in enumerate(zip(tables, after, strict=True)):
        if table.dtype == tf.bfloat16:
            rows = round_at_random(rows, 3 * seed + number)
        table.scatter_update(tf.IndexedSlices(rows, ids))


def round_at_random(values: Tensor, seed: object) -> Tensor:
    """See `keras_multvae.backend`."""
    rows, columns = tf.unstack(tf.shape(values))
    # The sum is even on 0 ... 65535 for each number, though not for all together: what
    # one draw a number would add to that costs as much as the step.
    noise = sum(
        tf.random.stateless_uniform(shape, [seed, side], 0, 1 << 16, tf.int32)
        for side, shape in enumerate([(rows, 1), (1, columns)])
    )
    bits = tf.bitcast(values, tf.int32) + tf.bitwise.bitwise_and(noise, 0xFFFF)
    cut = tf.bitwise.bitwise_and(bits, -1 << 16)
    return tf.cast(tf.bitcast(cut, tf.float32), tf.bfloat16)


def _wide_rows(table: Tensor, ids: Tensor) -> Tensor:
    rows = tf.gather(table, ids)
    return tf.cast(rows, tf.float32) if rows.dtype == tf.bfloat16 else rows


class Training:
    """Nothing: TensorFlow's own gradients may be rows of a table."""
