"""Add a model of your own: a VAE with another encoder and another prior than Mult-VAE.

    keras-multvae train prepared --out model --import add_a_model --model GatedVAE \
        --width 64

One file is enough. The decorator makes the class known by its name; from `Config` come
the options above, `Recipe` and what is stored. Run as a program, it compares the model
with the others on random clicks, and stores and exports it.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops
from scipy import sparse

from keras_multvae import (
    Recipe,
    Recommender,
    Settings,
    VariationalModel,
    compare,
    export_saved_model,
    register_model,
    setting,
    train,
)
from keras_multvae.data import Interactions, strong_generalization
from keras_multvae.layers import InteractionEncoder, ItemDecoder, Prior
from keras_multvae.settings import POSITIVE_INT, SHARE


@keras.saving.register_keras_serializable("add_a_model")
class GatedEncoder(keras.layers.Layer):
    """Gated units h(x) * sigmoid(g(x)), as in Kim and Suh, RecSys 2019."""

    def __init__(self, num_items, width, latent_dim, dropout, **kwargs):
        super().__init__(**kwargs)
        # Its two outputs are the two halves of a gated layer over sparse clicks.
        self.first = InteractionEncoder(num_items, width, (), dropout)
        self.gate, self.value = (keras.layers.Dense(2 * latent_dim) for _ in range(2))

    def call(self, inputs, training=None):
        value, gate = self.first(inputs, training=training)
        hidden = value * ops.sigmoid(gate)
        units = self.value(hidden) * ops.sigmoid(self.gate(hidden))
        return tuple(ops.split(units, 2, axis=-1))  # mean and log-variance


class MixturePrior(Prior):
    """An even mixture of N(0, I) and N(0, 9 I); its KL is estimated at the drawn z."""

    def call(self, inputs):
        mean, log_var, z = inputs
        log_q = -0.5 * (log_var + ops.square(z - mean) / ops.exp(log_var))
        narrow, wide = -0.5 * ops.square(z), -0.5 * ops.square(z) / 9 - np.log(3.0)
        log_p = ops.logaddexp(narrow, wide) - np.log(2.0)
        return ops.sum(log_q - log_p, axis=-1)


@register_model
class GatedVAE(VariationalModel):
    @dataclass(frozen=True)
    class Config(Settings):
        latent_dim: int = setting(200, POSITIVE_INT, "size of the latent vector")
        width: int = setting(600, POSITIVE_INT, "gated units of the first layer")
        dropout: float = setting(0.5, SHARE, "share of clicks dropped")

    def __init__(
        self, num_items, latent_dim=200, width=600, dropout=0.5, seed=None, **kw
    ):
        settings = self.Config(latent_dim, width, dropout)
        super().__init__(num_items, settings, seed, prior=MixturePrior(), **kw)
        self.encoder = GatedEncoder(num_items, width, latent_dim, dropout)
        self.decoder = ItemDecoder(num_items, latent_dim, (), name="decoder")


if __name__ == "__main__":
    clicks = sparse.random(300, 50, 0.2, "csr", rng=0)
    split = strong_generalization(Interactions.from_matrix(clicks), 30, 30)
    recipe = Recipe(GatedVAE.Config(16, 32), epochs=5, batch_size=50)
    found = compare(split, {"Mult-VAE": Recipe(epochs=5), "Gated VAE": recipe})
    print(found)
    model, _ = train(split, recipe, "demo/gated.training")
    Recommender(model, split.train.items).save("demo/gated")
    print(export_saved_model(Recommender.load("demo/gated"), "saved_models/gated"))
