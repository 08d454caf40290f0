"""What a network knows of each item: the rows of its weights that are an item's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_multvae import backend
from keras_multvae.models.weight_transfer import item_axes, network_weights
from keras_multvae.typing import Model, Variable


@dataclass
class ItemTable:
    """A weight with an axis of items.

    Args:
        weight: The variable.
        axis: Which axis is that of the items.
        kind: "vectors" (what gives an item's logit), "biases" or "inputs".
    """

    weight: Variable
    axis: int
    kind: str

    def rows(self) -> np.ndarray:
        """Its values, float32 (items, any)."""
        values = np.moveaxis(backend.to_host(self.weight), self.axis, 0)
        return values.reshape(len(values), -1).astype("float32")

    def assign_last(self, rows: np.ndarray) -> None:
        """Takes the rows of the last items, (rows, any)."""
        values = np.array(backend.to_host(self.weight))
        moved = np.moveaxis(values, self.axis, 0)
        moved[len(moved) - len(rows) :] = rows.reshape(len(rows), *moved.shape[1:])
        self.weight.assign(values)


def item_embeddings(model: Model) -> list[ItemTable]:
    """The tables of a network; the sampler's tables of popularity are none."""
    vectors, biases = model.output_table, model.output_bias
    found = []
    for weight, axis in zip(network_weights(model), item_axes(model), strict=True):
        if axis is None or (len(weight.shape) < 2 and not weight.trainable):
            continue
        kind = (
            "vectors"
            if weight is vectors
            else "biases"
            if weight is biases
            else "inputs"
        )
        found.append(ItemTable(weight, axis, kind))
    return found
