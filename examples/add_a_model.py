"""A model of your own: a VAE with another encoder and another prior than Mult-VAE's.

    keras-multvae train prepared --out model --import add_a_model --model GatedVAE

One file is enough: the decorator makes the class known by its name, and its `Config`
makes the command line's options, `Recipe` and what is stored.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops
from scipy import sparse

import keras_multvae as km
from keras_multvae.data import Interactions, strong_generalization
from keras_multvae.layers import InteractionEncoder, ItemDecoder, Prior
from keras_multvae.settings import POSITIVE_INT


class GatedEncoder(keras.layers.Layer):
    """Gated units h(x) * sigmoid(g(x)), as in Kim and Suh, RecSys 2019."""

    def __init__(self, num_items, width, latent_dim, seed):
        super().__init__()
        # Its two outputs are the two halves of a gated layer over sparse clicks.
        self.first = InteractionEncoder(num_items, width, (), seed=seed)
        self.value = keras.layers.Dense(2 * latent_dim)
        self.gate = keras.layers.Dense(2 * latent_dim, activation="sigmoid")

    def call(self, inputs, training=None):
        value, gate = self.first(inputs, training=training)
        hidden = value * ops.sigmoid(gate)
        return ops.split(self.value(hidden) * self.gate(hidden), 2, axis=-1)


class MixturePrior(Prior):
    """An even mixture of N(0, I) and N(0, 9 I); its KL is estimated at the drawn z."""

    def call(self, inputs):
        mean, log_var, z = inputs
        log_q = -0.5 * (log_var + ops.square(z - mean) / ops.exp(log_var))
        narrow, wide = -0.5 * ops.square(z), -0.5 * ops.square(z) / 9 - np.log(3.0)
        log_p = ops.logaddexp(narrow, wide) - np.log(2.0)
        return ops.sum(log_q - log_p, axis=-1)


@km.register_model
class GatedVAE(km.VariationalModel):
    @dataclass(frozen=True)
    class Config(km.Settings):
        latent_dim: int = km.setting(200, POSITIVE_INT, "size of the latent vector")
        width: int = km.setting(600, POSITIVE_INT, "gated units of the first layer")

    def __init__(self, num_items, latent_dim=200, width=600, seed=None, **options):
        settings = self.Config(latent_dim, width)
        super().__init__(num_items, settings, seed, prior=MixturePrior(), **options)
        self.encoder = GatedEncoder(num_items, width, latent_dim, seed)
        self.decoder = ItemDecoder(num_items, latent_dim, ())


if __name__ == "__main__":
    clicks = sparse.random(300, 50, 0.2, "csr", rng=0)
    split = strong_generalization(Interactions.from_matrix(clicks), 30, 30)
    recipe = km.Recipe(GatedVAE.Config(16, width=32), epochs=5, batch_size=50)
    mult_vae = km.Recipe(epochs=5, batch_size=50)
    print(km.compare(split, {"Mult-VAE": mult_vae, "Gated VAE": recipe}))
    model, _ = km.train(split, recipe, "demo/gated.training")
    km.Recommender(model, split.train.items).save("demo/gated")
    recommender = km.Recommender.load("demo/gated")
    print(km.export_saved_model(recommender, "saved_models/gated"))
