"""Sparse products on TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def bag_matmul(
    bag_sizes: Any, rows: Any, item_ids: Any, values: Any, kernel: Any, xla: bool
) -> Any:
    """See `keras_multvae.backend`."""
    kernel = tf.convert_to_tensor(kernel)
    if xla:
        weighted = tf.gather(kernel, item_ids) * tf.cast(values, kernel.dtype)[:, None]
        return tf.math.unsorted_segment_sum(weighted, rows, tf.shape(bag_sizes)[0])
    # The CPU and GPU kernels of the sparse product know no 16-bit floats.
    wide = tf.float32 if kernel.dtype.size < 4 else kernel.dtype
    matrix = tf.SparseTensor(
        tf.cast(tf.stack([rows, item_ids], axis=1), tf.int64),
        tf.cast(values, wide),
        tf.cast(tf.stack([tf.shape(bag_sizes)[0], tf.shape(kernel)[0]]), tf.int64),
    )
    product = tf.sparse.sparse_dense_matmul(matrix, tf.cast(kernel, wide))
    return tf.cast(product, kernel.dtype)


def to_dense(rows: Any, item_ids: Any, values: Any, shape: tuple[Any, int]) -> Any:
    """See `keras_multvae.backend`."""
    return tf.scatter_nd(tf.stack([rows, item_ids], axis=1), values, shape)


def gather(matrix: Any, rows: Any, item_ids: Any) -> Any:
    """See `keras_multvae.backend`."""
    return tf.gather_nd(matrix, tf.stack([rows, item_ids], axis=1))


def num_replicas() -> int:
    """See `keras_multvae.backend`."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def inference(function: Any, variables: Any) -> Any:
    """See `keras_multvae.backend`."""
    compiled = tf.function(function, reduce_retracing=True)
    # Not .numpy(), which copies.
    return lambda inputs: tf.nest.map_structure(np.asarray, compiled(inputs))
