"""Lists of unlike items in the served graph: `Reranking(diversity=...)` there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy import sparse

from keras_multvae.features import ItemFeatures
from keras_multvae.features.rows import unit_rows
from keras_multvae.metrics import MASKED
from keras_multvae.serving.forward import Forward
from keras_multvae.typing import Tensor

# A user's best items among which is chosen, as `Reranking` has it by default.
CANDIDATES = 100


class FeatureRows(tf.Module):
    """The features of items as rows of length 1, or 0, for look-up.

    Args:
        features: `ItemFeatures`, whose `unit_rows` these are.
    """

    def __init__(self, features: ItemFeatures) -> None:
        super().__init__(name="features")
        rows = unit_rows(features.unit_rows())
        self._width = rows.shape[1]
        self._sparse = sparse.issparse(rows)
        if self._sparse:
            self.starts = tf.Variable(rows.indptr.astype("int64"), trainable=False)
            self.columns = tf.Variable(rows.indices.astype("int64"), trainable=False)
            self.values = tf.Variable(rows.data.astype("float32"), trainable=False)
        else:
            self.rows = tf.Variable(rows.astype("float32"), trainable=False)

    def __call__(self, indices: Tensor) -> Tensor:
        """Rows (n, width) float32 of items (n,)."""
        if not self._sparse:
            return tf.gather(self.rows, indices)
        starts, ends = (tf.gather(self.starts, indices + n) for n in (0, 1))
        places = tf.ragged.range(starts, ends).flat_values
        count = tf.size(indices, out_type=tf.int64)
        owners = tf.repeat(tf.range(count), ends - starts)
        cells = tf.stack([owners, tf.gather(self.columns, places)], axis=1)
        shape = tf.stack([count, self._width])
        return tf.scatter_nd(cells, tf.gather(self.values, places), shape)


def rows_of(
    network: Forward, features: ItemFeatures | None
) -> Callable[[Tensor], Tensor] | None:
    """What items are compared by: features, else item vectors; None without either."""
    if features is not None:
        return FeatureRows(features)
    return None if network.items is None else network.items.unit_rows


def unlike(
    scores: Tensor,
    diversity: Tensor,
    width: Tensor,
    rows: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Lists by maximal marginal relevance, as `keras_multvae.Reranking` makes them.

    Args:
        scores: (users, items), masked.
        diversity: (users,) in [0, 1].
        width: Scalar int32, places of a list, at most `CANDIDATES`.
        rows: From items (n,) to their rows (n, width) of length 1, or 0.

    Returns:
        Scores and indices, both (users, width).
    """
    count = tf.minimum(CANDIDATES, tf.shape(scores)[1])
    best, indices = tf.math.top_k(scores, count)
    there = best > MASKED
    lowest = tf.reduce_min(tf.where(there, best, best.dtype.max), axis=1, keepdims=True)
    span = best[:, :1] - lowest
    within = there & (span > 0)
    relevance = tf.where(within, (best - lowest) / tf.where(within, span, 1.0), 1.0)
    # What may not be chosen comes last, and what has been chosen not at all.
    value = tf.where(there, (1 - diversity)[:, None] * relevance, MASKED / 2)

    def cosines(of_user: Tensor) -> Tensor:
        found = rows(of_user)
        return tf.matmul(found, found, transpose_b=True)

    # A user at a time, as rows may be long.
    among = tf.map_fn(cosines, indices, fn_output_signature=tf.float32)

    def choose(
        place: Tensor, value: Tensor, nearest: Tensor, picks: Tensor
    ) -> tuple[Tensor, ...]:
        pick = tf.argmax(
            value - diversity[:, None] * nearest, axis=1, output_type=tf.int32
        )
        of_pick = tf.gather(among, pick, batch_dims=1)
        nearest = tf.where(place > 0, tf.maximum(nearest, of_pick), of_pick)
        taken = tf.one_hot(pick, count, on_value=True, off_value=False)
        value = tf.where(taken, -np.inf, value)
        return place + 1, value, nearest, picks.write(place, pick)

    picks = tf.TensorArray(tf.int32, width, element_shape=[None])
    begin = (0, value, tf.zeros_like(value), picks)
    *_, picks = tf.while_loop(lambda place, *_: place < width, choose, begin)
    order = tf.transpose(picks.stack())
    return tf.gather(best, order, batch_dims=1), tf.gather(indices, order, batch_dims=1)
