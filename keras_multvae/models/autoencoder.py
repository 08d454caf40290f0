"""Models of two halves: clicks -> z -> logits."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_multvae.data.batches import UserBatches
from keras_multvae.layers import Decoder, InteractionEncoder
from keras_multvae.models.base import RankingModel
from keras_multvae.models.device_scope import device_scope
from keras_multvae.typing import Clicks, Tensor, Variable


class Autoencoder(RankingModel):
    """A `RankingModel` with an `encoder` and a `decoder`, made by a subclass.

    The encoder is a layer that maps a batch to z, (users, latent_dim), or to a pair
    whose first is z. The decoder is a `keras_multvae.layers.Decoder`, whose last layer
    has a vector and a bias for each item.
    """

    encoder: keras.layers.Layer
    decoder: Decoder
    latent_dim: int

    def encode(self, inputs: Tensor) -> Tensor:
        """The z of predictions, (users, latent_dim)."""
        found = self.encoder(inputs)
        return found[0] if isinstance(found, tuple | list) else found

    def network_logits(self, inputs: Tensor) -> Tensor:
        """See `RankingModel.network_logits`."""
        return self.decoder.logits(self.encode(inputs))

    def network(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """See `RankingModel.network`."""
        return self.decoder(self.encoder(inputs, training=training))

    @property
    def output_bias(self) -> Variable:
        """The variable with the bias of each item's logit."""
        return self.decoder.bias

    @property
    def output_table(self) -> Variable:
        """The variable with the vector of each item's logit."""
        return self.decoder.output_embeddings[0]

    @property
    def item_vectors(self) -> np.ndarray:
        """The decoder's output weights, float32 (num_items, units), one row an item."""
        return self.decoder.item_vectors()

    @property
    def item_biases(self) -> np.ndarray:
        """The decoder's output biases, float32 (num_items,); see `query_vectors`."""
        self._check_inner_products()
        return self.decoder.item_biases()

    def query_vectors(self, histories: Clicks, batch_size: int = 500) -> np.ndarray:
        """The input of the decoder's last layer, float32 (users, units).

        Their products with `item_vectors`, plus `item_biases`, are the logits.

        Raises:
            TypeError: The model has a linear path, whose logits are no such product.
        """
        self._check_inner_products()
        histories = self._rows(histories)
        batches = UserBatches(histories, batch_size, shuffle=False, partitions=1)
        with device_scope(self):
            parts = [
                ops.convert_to_numpy(
                    ops.cast(self.decoder.hidden(self.encode(inputs)), "float32")
                )
                for (inputs,) in batches
            ]
        return np.concatenate(parts)

    def _check_inner_products(self) -> None:
        """Raises TypeError if a linear path makes logits no inner products."""
        if self.linear_path is not None:
            raise TypeError(
                "Logits of a model with a linear path are no inner products of "
                "vectors. Look for candidates with `model.without_linear_path()`, and "
                "rank them with `score`."
            )


def item_embeddings(
    encoder: InteractionEncoder, decoder: Decoder
) -> list[tuple[Variable, int]]:
    """The embeddings of both layers; see `abilities.HasItemEmbeddings`."""
    first, last = (encoder.kernel, 0), decoder.output_embeddings
    return [first] if last[0] is first[0] else [first, last]
