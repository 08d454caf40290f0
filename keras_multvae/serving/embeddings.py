"""Item embeddings in the served graph, quantized or not."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy import sparse

from keras_multvae.typing import Tensor

# The size of a block of a quantized item matrix as float32: it stays in the cache while
# it is converted and multiplied.
PART = 4 << 20
# The number of blocks that may be float32 at a time.
AT_A_TIME = 2
# The maximum number of blocks, as each adds some operations to the graph.
MAX_PARTS = 64


class ItemEmbeddings(tf.Module):
    """Embeddings (items, units) for look-up."""

    def __init__(self, rows: np.ndarray, quantize: str | None) -> None:
        super().__init__(name="table")
        self.scales, rows = _quantized(rows, quantize, axis=1)
        self.rows = tf.Variable(rows, trainable=False)

    def mean_rows(self, indices: Tensor) -> Tensor:
        """The sum of each user's rows over the root of their number: x W / |x|."""
        known = indices >= 0
        users = tf.shape(indices, out_type=tf.int64)[0]
        items = tf.boolean_mask(indices, known)
        owners = tf.cast(tf.where(known)[:, 0], tf.int32)
        if self.scales is None and self.rows.dtype == tf.float32:
            return tf.sparse.segment_sqrt_n(
                self.rows, items, owners, num_segments=tf.cast(users, tf.int32)
            )
        rows = tf.cast(tf.gather(self.rows, items), tf.float32)
        if self.scales is not None:
            rows *= tf.gather(self.scales, items)[:, None]
        places = tf.range(tf.size(items))
        return tf.sparse.segment_sqrt_n(
            rows, places, owners, num_segments=tf.cast(users, tf.int32)
        )


class ItemMatrix(tf.Module):
    """A matrix (units, items) of item vectors, and their lengths.

    A quantized matrix consists of blocks, which are converted to float32 one by one, so
    that the whole matrix never exists in float32.
    """

    def __init__(self, kernel: np.ndarray, quantize: str | None) -> None:
        super().__init__(name="items")
        self.scales, stored = _quantized(kernel, quantize, axis=0)
        count = 1
        if quantize is not None:
            count = int(np.clip(-(-4 * kernel.size // PART), 1, MAX_PARTS))
        width = -(-kernel.shape[1] // count)
        starts = range(0, kernel.shape[1], width)
        self.parts = [
            tf.Variable(stored[:, start : start + width], trainable=False)
            for start in starts
        ]
        self._width = width
        columns = np.concatenate(
            [tf.cast(part, tf.float32).numpy() for part in self.parts], axis=1
        )
        lengths = np.linalg.norm(columns, axis=0)
        self._inverse_lengths = tf.Variable(
            (1 / np.where(lengths == 0, 1, lengths)).astype("float32"), trainable=False
        )

    def products(self, vectors: Tensor) -> Tensor:
        """Vectors (users, units) times the matrix: float32 (users, items)."""
        found = self._products(vectors)
        return found if self.scales is None else found * self.scales

    def cosines(self, indices: Tensor) -> Tensor:
        """Cosines of items, int32 indices (users,), with all items: (users, items)."""
        return self._products(self.unit_rows(indices)) * self._inverse_lengths

    def unit_rows(self, indices: Tensor) -> Tensor:
        """Vectors (n, units) of length 1, or 0, of items (n,)."""
        # The scale of an item does not change its direction.
        lengths = tf.gather(self._inverse_lengths, indices)[:, None]
        return self._columns(indices) * lengths

    def _products(self, vectors: Tensor) -> Tensor:
        """The products with each block, one after the other."""
        found: list[Tensor] = []
        for part in self.parts:
            # Otherwise TensorFlow would first convert all blocks to float32.
            with tf.control_dependencies(found[-AT_A_TIME:][:1]):
                kernel = tf.cast(part, tf.float32)
            found.append(tf.matmul(vectors, kernel))
        return found[0] if len(found) == 1 else tf.concat(found, axis=1)

    def _columns(self, indices: Tensor) -> Tensor:
        total = tf.constant(0.0)
        for number, part in enumerate(self.parts):
            place = indices - number * self._width
            inside = (place >= 0) & (place < part.shape[1])
            place = tf.clip_by_value(place, 0, part.shape[1] - 1)
            columns = tf.cast(tf.gather(part, place, axis=1), tf.float32)
            total += tf.transpose(tf.where(inside, columns, 0.0))
        return total


class ItemEntries(tf.Module):
    """A sparse matrix (items, items), whose rows are summed for histories.

    Args:
        matrix: CSR float32.
        quantize: None, "bfloat16" or "int8" with a scale for each row.
    """

    def __init__(self, matrix: sparse.csr_matrix, quantize: str | None) -> None:
        super().__init__(name="linear_path")
        lengths = np.diff(matrix.indptr)
        values, scales = matrix.data, None
        if quantize == "int8":
            largest = abs(matrix).max(axis=1).toarray().ravel()
            scales = np.where(largest == 0, 1, largest).astype("float32") / 127
            values = np.rint(values / np.repeat(scales, lengths)).astype("int8")
        elif quantize == "bfloat16":
            values = tf.cast(values, tf.bfloat16).numpy()
        self.starts = tf.Variable(matrix.indptr.astype("int64"), trainable=False)
        self.columns = tf.Variable(matrix.indices.astype("int32"), trainable=False)
        self.values = tf.Variable(values, trainable=False)
        self.scales = None if scales is None else tf.Variable(scales, trainable=False)

    def added(self, logits: Tensor, indices: Tensor) -> Tensor:
        """Logits (users, items) plus the sum of the rows of each user's items."""
        known = indices >= 0
        items = tf.boolean_mask(indices, known)
        starts, ends = tf.gather(self.starts, items), tf.gather(self.starts, items + 1)
        places = tf.ragged.range(starts, ends).flat_values
        owners = tf.repeat(tf.where(known)[:, 0], ends - starts)
        columns = tf.cast(tf.gather(self.columns, places), owners.dtype)
        values = tf.cast(tf.gather(self.values, places), tf.float32)
        if self.scales is not None:
            values *= tf.repeat(tf.gather(self.scales, items), ends - starts)
        place = tf.stack([owners, columns], axis=1)
        return tf.tensor_scatter_nd_add(logits, place, values)


def _quantized(
    weights: np.ndarray, quantize: str | None, axis: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """The scales, or None, and the weights to store.

    `axis` is the axis of an item's vector.
    """
    if quantize is None:
        return None, weights
    if quantize == "bfloat16":
        return None, tf.cast(weights, tf.bfloat16).numpy()
    largest = np.abs(weights).max(axis=axis, keepdims=True)
    scales = np.where(largest == 0, 1, largest) / np.float32(127)
    variable = tf.Variable(np.squeeze(scales, axis), trainable=False)
    return variable, np.rint(weights / scales).astype("int8")
