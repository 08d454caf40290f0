"""Models as somebody else would write them, in a module that processes can import."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from keras_multvae import MultVAE, RankingModel, Settings, register_model, setting
from keras_multvae.layers import InteractionEncoder
from keras_multvae.settings import POSITIVE_INT


@register_model
class FixedPath(RankingModel):
    """Any network: no code, no item vectors, and a table that is not trained."""

    @dataclass(frozen=True)
    class Config(Settings):
        units: int = setting(4, POSITIVE_INT, "of the hidden layer")

    def __init__(self, num_items, units=4, seed=None, **options):
        super().__init__(num_items, self.Config(units), seed, **options)
        self.clicks = InteractionEncoder(num_items, num_items, (), seed=seed)
        self.hidden = keras.layers.Dense(num_items, activation="relu")
        self.fixed = self.add_weight(
            shape=(num_items,), initializer="zeros", trainable=False, name="fixed"
        )

    def network(self, inputs, training=None):
        mean, spread = self.clicks(inputs, training=training)
        return self.hidden(mean) + spread + self.fixed


@register_model
class Doubled(MultVAE):
    """Our layers, but not our forward pass."""

    def network_logits(self, inputs):
        return 2.0 * super().network_logits(inputs)
