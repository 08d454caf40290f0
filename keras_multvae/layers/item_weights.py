"""A sparse item-item matrix beside a network."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import sparse

from keras_multvae import backend, ragged
from keras_multvae.typing import Json, Tensor


@keras.saving.register_keras_serializable(package="keras_multvae")
class ItemWeights(keras.layers.Layer):
    """Adds `w x B` to logits, B a sparse matrix (items, items) that is not trained.

    x is the row of clicks or counts as it is given, not normalised; see
    docs/method.md. B is kept as the entries of its rows, one row after the other.

    Args:
        num_items: Int, items of the catalogue.
        entries: Int, entries of B.
        **kwargs: Passed to `keras.layers.Layer` (`name`).

    Call arguments:
        inputs: Dense rows (users, num_items), or a ragged batch (see `UserBatches`).
        logits: (users, num_items).

    Returns:
        Logits (users, num_items), float32.

    Example:

    >>> weights = sparse.csr_matrix([[0, 0.5], [0.25, 0]])
    >>> layer = ItemWeights(num_items=2, entries=2)
    >>> layer.set_matrix(weights, weight=2.0)
    >>> clicks = np.array([[1, 0]], "float32")
    >>> ops.convert_to_numpy(layer(clicks, np.zeros((1, 2), "float32")))
    array([[0., 1.]], dtype=float32)
    """

    def __init__(self, num_items: int, entries: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs}, autocast=False)
        self.num_items, self.entries = num_items, entries

        def weight(shape: tuple[int, ...], dtype: str, name: str) -> Any:
            return self.add_weight(
                shape=shape,
                dtype=dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
                name=name,
            )

        self.lengths = weight((num_items,), "int32", "lengths")
        self.columns = weight((entries,), "int32", "columns")
        self.values = weight((entries,), "float32", "values")
        self.weight = weight((), "float32", "weight")
        self.built = True

    def set_matrix(self, matrix: sparse.csr_matrix, weight: float) -> None:
        """Takes the entries of B, CSR (num_items, num_items), and w."""
        self.lengths.assign(np.diff(matrix.indptr))
        self.columns.assign(matrix.indices)
        self.values.assign(matrix.data)
        self.weight.assign(weight)

    def matrix(self) -> sparse.csr_matrix:
        """B, CSR float32 (num_items, num_items)."""
        lengths, columns, values = map(
            backend.to_host, (self.lengths, self.columns, self.values)
        )
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        shape = (self.num_items, self.num_items)
        return sparse.csr_matrix((values, columns, indptr), shape=shape)

    def call(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """See the class."""
        logits = ops.cast(logits, "float32")
        entries = (self.lengths, self.columns, self.values)
        lengths, columns, values = map(ops.convert_to_tensor, entries)
        if ragged.is_ragged(inputs):
            item_ids = ops.convert_to_tensor(inputs["item_ids"])
            x = ops.cast(inputs["values"], "float32") * self.weight
            return backend.add_item_weights(
                logits, ragged.segment_ids(inputs), item_ids, x, lengths, columns, values
            )
        rows = backend.segment_ids(lengths, columns)
        dense = backend.to_dense(rows, columns, values, (self.num_items,) * 2)
        x = ops.cast(inputs, "float32") * self.weight
        return logits + ops.matmul(x, dense)

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        return {
            **super().get_config(),
            "num_items": self.num_items,
            "entries": self.entries,
        }
