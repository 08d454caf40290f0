"""A model's forward pass in plain TensorFlow, made for histories of a few items.

The layers of the package are made for batches of training: they look for dense rows,
carry random state and know three backends. Here the same sums stand once more, over the
weights of inference alone; tests/serving holds the two together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

# Bytes of float32 that a part of a quantized item matrix comes to: it stays in the
# cache between being made and being multiplied.
PART = 4 << 20
# Parts that are float32 at a time.
AT_A_TIME = 2
# Parts at most, as each is a few operations of the graph.
MOST_PARTS = 64


class Network(tf.Module):
    """Encoder and decoder of a model, in float32 whatever the model's dtype policy.

    Args:
        model: A `RankingModel` under the TensorFlow backend.
        quantize: None, "bfloat16" or "int8": how the first layer's table and the
            decoder's item matrix are kept. All else stays float32.
    """

    def __init__(self, model: Any, quantize: str | None = None) -> None:
        super().__init__(name="network")
        self.num_items = model.num_items
        self.latent_dim = model.latent_dim
        self.has_variance = model.encoder.outputs == 2
        self._likelihood = model.likelihood
        encoder, decoder = model.encoder, model.decoder
        self.table = Table(_array(encoder.kernel), quantize)
        self.bias = _variable(encoder.bias)
        self.encoder = [(_variable(d.kernel), _variable(d.bias)) for d in encoder.stack]
        self.decoder = [(_variable(d.kernel), _variable(d.bias)) for d in decoder.inner]
        self.items = ItemMatrix(decoder.item_vectors().T, quantize)
        self.item_bias = _variable(decoder.item_biases())

    def encode(self, indices: Any) -> tuple[Any, Any]:
        """What is known of users from their items.

        Args:
            indices: int32 (users, length), item indices, each item once in a row; -1
                for none.

        Returns:
            z (users, latent_dim), the mean of q(z | x), and its log-variance; None in
            its place for a `MultDAE`.
        """
        hidden = self.table.mean_rows(indices) + self.bias
        # Each layer's activation stands before the next one: the last has none.
        for kernel, bias in self.encoder:
            hidden = tf.matmul(tf.tanh(hidden), kernel) + bias
        if not self.has_variance:
            return tf.tanh(hidden), None
        mean, log_variance = tf.split(hidden, 2, axis=1)
        return mean, log_variance

    def scores(self, indices: Any) -> Any:
        """What `RankingModel.score` gives, (users, items), for rows as in `encode`."""
        hidden, _ = self.encode(indices)
        for kernel, bias in self.decoder:
            hidden = tf.tanh(tf.matmul(hidden, kernel) + bias)
        return self._likelihood.scores(self.items.products(hidden) + self.item_bias)


class Table(tf.Module):
    """Rows (items, units) to look up, one an item."""

    def __init__(self, rows: np.ndarray, quantize: str | None) -> None:
        super().__init__(name="table")
        self.scales, rows = _quantized(rows, quantize, axis=1)
        self.rows = tf.Variable(rows, trainable=False)

    def mean_rows(self, indices: Any) -> Any:
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
    """Columns (units, items), one an item, and their lengths.

    A quantized matrix lies in parts, each of which is made float32 only while it is
    multiplied: the whole matrix in float32 never exists.
    """

    def __init__(self, kernel: np.ndarray, quantize: str | None) -> None:
        super().__init__(name="items")
        self.scales, stored = _quantized(kernel, quantize, axis=0)
        count = 1
        if quantize is not None:
            count = int(np.clip(-(-4 * kernel.size // PART), 1, MOST_PARTS))
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

    def products(self, vectors: Any) -> Any:
        """Vectors (users, units) times the matrix: float32 (users, items)."""
        found = self._products(vectors)
        return found if self.scales is None else found * self.scales

    def cosines(self, indices: Any) -> Any:
        """Cosines of items, int32 indices (users,), with all items: (users, items)."""
        # A scale of an item has no say in its direction.
        vectors = self._columns(indices)
        lengths = tf.gather(self._inverse_lengths, indices)[:, None]
        return self._products(vectors * lengths) * self._inverse_lengths

    def _products(self, vectors: Any) -> Any:
        found: list[Any] = []
        for part in self.parts:
            # TensorFlow would begin with making all parts float32.
            with tf.control_dependencies(found[-AT_A_TIME:][:1]):
                kernel = tf.cast(part, tf.float32)
            found.append(tf.matmul(vectors, kernel))
        return found[0] if len(found) == 1 else tf.concat(found, axis=1)

    def _columns(self, indices: Any) -> Any:
        total = tf.constant(0.0)
        for number, part in enumerate(self.parts):
            place = indices - number * self._width
            inside = (place >= 0) & (place < part.shape[1])
            place = tf.clip_by_value(place, 0, part.shape[1] - 1)
            columns = tf.cast(tf.gather(part, place, axis=1), tf.float32)
            total += tf.transpose(tf.where(inside, columns, 0.0))
        return total


def _array(variable: Any) -> np.ndarray:
    array: np.ndarray = ops.convert_to_numpy(variable).astype("float32")
    return array


def _variable(variable: Any) -> Any:
    return tf.Variable(_array(variable), trainable=False)


def _quantized(
    weights: np.ndarray, quantize: str | None, axis: int
) -> tuple[Any, np.ndarray]:
    """Scales by which to multiply, or None, and the weights as they are stored.

    `axis` is the one that the numbers of an item lie along.
    """
    if quantize is None:
        return None, weights
    if quantize == "bfloat16":
        return None, tf.cast(weights, tf.bfloat16).numpy()
    largest = np.abs(weights).max(axis=axis, keepdims=True)
    scales = np.where(largest == 0, 1, largest) / np.float32(127)
    variable = tf.Variable(np.squeeze(scales, axis), trainable=False)
    return variable, np.rint(weights / scales).astype("int8")
