"""Copies of a model with more items, or with a linear path."""

from __future__ import annotations

from typing import Any, Self

import keras
import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.layers import ItemWeights
from keras_multvae.models.weight_transfer import compile_alike, copy_state

# The attribute of a model, and the key of its configuration.
PATH = "linear_path"


class Copies(keras.Model):
    """What a `RankingModel` can be made into. The model itself stays as it is."""

    num_items: int
    # Not None here: PyTorch would find that before the layer.
    linear_path: ItemWeights | None

    def with_new_items(self, num_items: int) -> Self:
        """A copy of the model for a catalogue that has grown.

        Items 0..I-1 keep their weights exactly; each new item starts as the mean of
        them, so its logit is the mean logit and its click says what the average click
        says. The optimiser's state goes along, zero for the new items, and so do the
        schedule of beta, its count of steps and the random state: `fit` goes on.

        Args:
            num_items: Int >= I, the new size; the new items come after the old ones
                (see `Vocabulary.extend`).

        Returns:
            A new model, compiled as this one is.

        Raises:
            ValueError: A catalogue smaller than the model's.

        Example:

        >>> from keras_multvae import MultVAE
        >>> MultVAE(num_items=30, latent_dim=4).with_new_items(32).num_items
        32
        """
        num_items = checks.integer("num_items", num_items)
        if num_items < self.num_items:
            raise ValueError(
                f"`num_items` must be at least {self.num_items}, the items that the "
                f"model has: none can be taken away. Received: num_items={num_items}."
            )
        return self._copy(num_items=num_items)

    def with_linear_path(
        self, weights: sparse.sparray | sparse.spmatrix, weight: float = 1.0
    ) -> Self:
        """A copy of the model with a linear model beside the network.

        In inference its logits are f(x) + w (x B): the network sees what a user's
        clicks have in common, B which item goes with which. Training is that of the
        network alone, so `fit` goes on as it would without. `add_linear_path` chooses
        w and B's density on validation users.

        Args:
            weights: B, sparse (num_items, num_items), as `EASE.cut` gives it: row i is
                what a click on item i adds to the logits of all items.
            weight: Float >= 0, w.

        Returns:
            A new model, compiled as this one is. `without_linear_path` takes it away.

        Raises:
            ValueError: Another shape, or entries that are not finite.

        Example:

        >>> from keras_multvae import EASE, MultVAE
        >>> clicks = sparse.csr_matrix([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
        >>> linear = EASE(3, l2=1.0).fit(clicks)
        >>> model = MultVAE(num_items=3, latent_dim=2, seed=0)
        >>> model.with_linear_path(linear.cut(0.5), 8.0).score(clicks).shape
        (3, 3)
        """
        shape = (self.num_items, self.num_items)
        if weights.shape != shape:
            raise ValueError(
                f"`weights` must be (num_items, num_items) = {shape}. Received: "
                f"{weights.shape}."
            )
        matrix = sparse.csr_matrix(weights, dtype="float32", copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        if not np.isfinite(matrix.data).all():
            raise ValueError("`weights` must be finite. Received: NaN or infinity.")
        weight = checks.number("weight", weight)
        model = self._copy(linear_path={"entries": matrix.nnz})
        assert model.linear_path is not None
        model.linear_path.set_matrix(matrix, weight)
        return model

    def without_linear_path(self) -> Self:
        """A copy of the model whose logits are the network's alone."""
        return self._copy(linear_path=None)

    def _copy(self, **changed: Any) -> Self:
        """A copy with the same weights and another configuration.

        A linear path with as many entries goes along; any other is left to be set.
        """
        model = type(self).from_config({**self.get_config(), **changed})
        compile_alike(self, model)
        copy_state(self, model)
        return model
