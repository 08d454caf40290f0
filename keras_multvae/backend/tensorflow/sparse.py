"""Sparse rows times a dense kernel on TensorFlow."""

from __future__ import annotations

import tensorflow as tf

from keras_multvae import compat
from keras_multvae.typing import Tensor


def sparse_dense_matmul(
    entries_per_user: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
    values: Tensor,
    kernel: Tensor,
) -> Tensor:
    """See `keras_multvae.backend`."""
    kernel = tf.convert_to_tensor(kernel)

    @tf.custom_gradient
    def product(kernel: Tensor) -> Tensor:
        num_users, num_items = tf.shape(entries_per_user)[0], tf.shape(kernel)[0]
        weights = tf.cast(values, kernel.dtype)
        if tf.config.list_physical_devices("GPU") or compat.in_xla():
            entries = item_ids, segment_ids, weights
            found = _add_rows(kernel, *entries, num_users)
            return found, lambda g: _add_rows(
                g, segment_ids, item_ids, weights, num_items
            )
        # Padding and dropped entries would cost a row of memory traffic each.
        kept = weights != 0
        items, users, weights = (
            tf.boolean_mask(each, kept) for each in (item_ids, segment_ids, weights)
        )
        scales = _of_users(weights, users, num_users)
        alike = tf.reduce_all(tf.gather(scales, users) == weights)
        found = tf.cond(
            alike,
            lambda: _sums(kernel, items, users, num_users) * scales[:, None],
            lambda: _add_rows(kernel, items, users, weights, num_users),
        )

        def gradient(upstream: Tensor) -> Tensor:
            return tf.cond(
                alike,
                lambda: _sums_of_items(
                    upstream * scales[:, None], users, items, num_items
                ),
                lambda: _add_rows(upstream, users, items, weights, num_items),
            )

        return found, gradient

    return product(kernel)


def _add_rows(
    table: Tensor, source: Tensor, target: Tensor, weights: Tensor, size: Tensor
) -> Tensor:
    """Adds `weights * table[source]` to the rows `target` of zeros (size, units)."""
    weighted = tf.gather(table, source) * weights[:, None]
    return tf.math.unsorted_segment_sum(weighted, target, size)


def _of_users(weights: Tensor, users: Tensor, num_users: Tensor) -> Tensor:
    """The largest weight of each user, 0 for those without any.

    It is the weight of all the user's entries where clicks are not counted: the sums
    of rows then need no weights, and TensorFlow has a kernel for them that writes no
    weighted rows to memory, four times as fast on a CPU.
    """
    largest = tf.math.unsorted_segment_max(weights, users, num_users)
    return tf.where(largest == weights.dtype.min, tf.zeros_like(largest), largest)


def _sums(table: Tensor, source: Tensor, target: Tensor, size: Tensor) -> Tensor:
    """Adds `table[source]` to the rows `target`, ascending, of zeros (size, units)."""
    return tf.raw_ops.SparseSegmentSumWithNumSegments(
        data=table, indices=source, segment_ids=target, num_segments=size
    )


def _sums_of_items(table: Tensor, users: Tensor, items: Tensor, size: Tensor) -> Tensor:
    """`_sums` with the entries in the order of their items."""
    order = tf.argsort(items)
    return _sums(table, tf.gather(users, order), tf.gather(items, order), size)
