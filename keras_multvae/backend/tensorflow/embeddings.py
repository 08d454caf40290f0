"""Item embeddings of which a step reads and writes some rows, on TensorFlow."""

from __future__ import annotations

import tensorflow as tf

from keras_multvae.backend.adam import adam_step
from keras_multvae.backend.wide import widen
from keras_multvae.typing import Tensor, Variable

# XLA needs static shapes, and the number of distinct ids is not static.
COMPILES = False


def unique_ids(item_ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend`."""
    ids, places = tf.unique(item_ids)
    return ids, places


def embedding_lookup(embeddings: Tensor, ids: Tensor, sparse: bool) -> Tensor:
    """See `keras_multvae.backend`."""
    return widen(tf.gather(embeddings.value, ids))


def entry_products(
    hidden: Tensor,
    embeddings: Tensor,
    entries_per_user: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
) -> Tensor:
    """See `keras_multvae.backend`."""

    @tf.custom_gradient
    def products(hidden: Tensor, embeddings: Tensor) -> Tensor:
        def gradient(upstream: Tensor) -> Tensor:
            weights = upstream[:, None]
            return tf.math.unsorted_segment_sum(
                tf.gather(embeddings, item_ids) * weights,
                segment_ids,
                tf.shape(hidden)[0],
            ), tf.math.unsorted_segment_sum(
                tf.gather(hidden, segment_ids) * weights,
                item_ids,
                tf.shape(embeddings)[0],
            )

        pairs = tf.gather(hidden, segment_ids) * tf.gather(embeddings, item_ids)
        return tf.reduce_sum(pairs, axis=1), gradient

    return products(hidden, embeddings)


def sparse_gradient(gradient: Tensor) -> tuple[Tensor, Tensor] | None:
    """See `keras_multvae.backend`."""
    if not isinstance(gradient, tf.IndexedSlices):
        return None
    # The ids are distinct, as `embedding_lookup` requires, so no rows need adding up.
    return gradient.indices, gradient.values


def sparse_adam_update(
    variable: Variable,
    momentum: Variable,
    velocity: Variable,
    ids: Tensor,
    gradient: Tensor,
    step: Tensor,
    seed: Tensor,
    **rates: Tensor,
) -> None:
    """See `keras_multvae.backend`."""
    tables = (variable, momentum.value, velocity.value)
    weights, m, v = (widen(tf.gather(table, ids)) for table in tables)
    after = adam_step(weights, m, v, gradient, step, **rates)
    for number, (table, rows) in enumerate(zip(tables, after, strict=True)):
        if table.dtype == tf.bfloat16:
            rows = round_at_random(rows, 3 * seed + number)
        table.scatter_update(tf.IndexedSlices(rows, ids))


def round_at_random(values: Tensor, seed: object) -> Tensor:
    """See `keras_multvae.backend`."""
    rows, columns = tf.unstack(tf.shape(values))
    # Each sum is uniform on 0 ... 65535, though sums are not independent of one
    # another: one draw for each number would cost as much as the step.
    noise = sum(
        tf.random.stateless_uniform(shape, [seed, side], 0, 1 << 16, tf.int32)
        for side, shape in enumerate([(rows, 1), (1, columns)])
    )
    bits = tf.bitcast(values, tf.int32) + tf.bitwise.bitwise_and(noise, 0xFFFF)
    cut = tf.bitwise.bitwise_and(bits, -1 << 16)
    return tf.cast(tf.bitcast(cut, tf.float32), tf.bfloat16)


class Training:
    """Empty, as TensorFlow has sparse gradients of its own."""
