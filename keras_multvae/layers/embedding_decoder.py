"""A decoder whose last layer is an embedding matrix with a row for each item."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_multvae import backend, ragged
from keras_multvae.backend.wide import wide_dtype
from keras_multvae.layers.decoder import Decoder
from keras_multvae.layers.dense import (
    Dense,
    EmbeddingInitializer,
    bias_initializer,
    seeds,
    tanh_stack,
)
from keras_multvae.layers.sampler import SampledItems
from keras_multvae.losses import SampledLogits
from keras_multvae.typing import Batch, Json, Tensor, Variable


@keras.saving.register_keras_serializable(package="keras_multvae")
class EmbeddingDecoder(Decoder):
    """An `ItemDecoder` whose last kernel is an embedding matrix (items, units).

    A training step can then read and update the rows of some items alone, and the
    matrix can be that of the encoder.

    Args:
        num_items: Int, items of the catalogue.
        latent_dim: Int, size of the latent vector.
        hidden_dims: Ints, sizes of the hidden layers from the latent vector outwards.
        seed: Int or None, for the initial weights.
        embedding_dtype: None, or "bfloat16" for a matrix of its own.
        embeddings: Optional function that returns the variable (num_items, units) of
            another layer, to be shared. Not part of the configuration.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: Latent vectors (users, latent_dim).

    Returns:
        Logits (users, num_items), float32 (float64 under that policy).

    References:
        - [Press and Wolf, 2017](https://arxiv.org/abs/1608.05859), for sharing the
          matrix
    """

    def __init__(
        self,
        num_items: int,
        latent_dim: int = 200,
        hidden_dims: Sequence[int] = (600,),
        seed: int | None = None,
        embedding_dtype: str | None = None,
        embeddings: Callable[[], Variable] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(num_items, latent_dim, hidden_dims, seed, **kwargs)
        self.embedding_dtype = embedding_dtype
        source = seeds(seed)
        self.stack = tanh_stack(
            self.latent_dim, self.hidden_dims, source, self.dtype_policy, last="tanh"
        )
        units = (self.latent_dim, *self.hidden_dims)[-1]
        if embeddings is None:
            self.kernel = self.add_weight(
                shape=(self.num_items, units),
                initializer=EmbeddingInitializer(next(source)),
                dtype=embedding_dtype,
                autocast=False,
                name="kernel",
            )
        self._embeddings = embeddings or (lambda: self.kernel)
        # A column, so that rows of it can be read and updated like those of the kernel.
        self.bias = self.add_weight(
            shape=(self.num_items, 1),
            initializer=bias_initializer(source),
            autocast=False,
            name="bias",
        )
        self.built = True

    @property
    def embeddings(self) -> Variable:
        """The variable (num_items, units) that gives the logits."""
        return self._embeddings()

    @property
    def output_embeddings(self) -> tuple[Variable, int]:
        """The embedding matrix and 0."""
        return self.embeddings, 0

    @property
    def inner(self) -> list[Dense]:
        """The layers before the last."""
        return self.stack

    def item_biases(self) -> np.ndarray:
        """The bias, float32 (num_items,)."""
        return ops.convert_to_numpy(self.bias).astype("float32")[:, 0]

    def item_vectors(self) -> np.ndarray:
        """The embedding matrix, float32 (num_items, units)."""
        return ops.convert_to_numpy(self.embeddings).astype("float32")

    def logits(self, inputs: Tensor) -> Tensor:
        """See `Decoder`."""
        kernel, bias = (
            ops.cast(ops.convert_to_tensor(each), self.compute_dtype)
            for each in (self.embeddings, self.bias)
        )
        hidden = ops.cast(self.hidden(inputs), self.compute_dtype)
        return backend.affine(hidden, ops.transpose(kernel), bias[:, 0])

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        return {**super().get_config(), "embedding_dtype": self.embedding_dtype}

    def sampled(
        self,
        inputs: Tensor,
        batch: Batch,
        items: SampledItems,
        rows: Tensor,
        bias: Tensor,
    ) -> SampledLogits:
        """The logits of the clicked and of the sampled items.

        Args:
            inputs: Latent vectors (users, latent_dim).
            batch: The ragged batch.
            items: The clicked and sampled items of this batch.
            rows: (ids, units), the embeddings of `items.ids`.
            bias: (ids, 1), their biases.
        """
        wide = wide_dtype(self.compute_dtype)
        hidden = self.hidden(inputs)
        clicked = backend.entry_products(
            ops.cast(hidden, wide),
            ops.cast(rows, wide),
            ops.convert_to_tensor(batch["entries_per_user"]),
            ragged.segment_ids(batch),
            items.clicks,
        )
        of_candidates = ops.cast(ops.take(rows, items.candidates, axis=0), hidden.dtype)
        sampled = ops.matmul(hidden, ops.transpose(of_candidates))
        sampled = ops.cast(sampled, wide) + ops.take(bias[:, 0], items.candidates)
        return SampledLogits(
            clicked + ops.take(bias[:, 0], items.clicks),
            sampled - items.log_inclusion,
            items.hits,
        )
