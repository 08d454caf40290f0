"""RecVAE: a composite prior, a KL weight for each user, halves that train in turns."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_multvae import backend, ragged
from keras_multvae.layers import (
    CompositePrior,
    DenselyConnectedEncoder,
    FrozenEncoder,
    ItemDecoder,
    Sampling,
    Turns,
)
from keras_multvae.models.autoencoder import item_embeddings
from keras_multvae.models.doors import arguments_of
from keras_multvae.models.gaussian import GaussianAutoencoder
from keras_multvae.models.recvae_config import RecVAEConfig
from keras_multvae.optimizers import AlternatingAdam
from keras_multvae.typing import Clicks, Logs, Tensor


@keras.saving.register_keras_serializable(package="keras_multvae")
class RecVAE(GaussianAutoencoder):
    """A variational autoencoder that is pulled towards what it said an epoch before.

    The objective is, per user, `log p(x | z) - gamma N (log q(z | x) - log p(z | x))`,
    with N the user's clicks, z drawn from q in training and its mean in inference, and
    a multinomial likelihood. The prior p(z | x) mixes N(0, I), a wide normal and q by
    an older encoder, see `CompositePrior`. The encoder has five densely connected
    layers, the decoder is linear.

    A Keras epoch is one pass over the users. `encoder_passes` of them train the encoder
    on clicks with dropout; the encoder is then copied to the prior's, and
    `decoder_passes` train the decoder without dropout, z still drawn. So it goes on,
    also over several `fit` and after loading. Whose turn it is follows from a count
    that is a weight; `AlternatingAdam` lets the other half stand still. Train for a
    multiple of `encoder_passes + decoder_passes` epochs: the paper's 50 are 200 here.
    Without `fit`, each batch of `train_on_batch` is a pass.

    The paper's learning rate, 5e-4, is that of `compile()` and of `Recipe("RecVAE")`.

    Inputs, metrics, saving and scores are those of `MultVAE`. There is no beta to
    anneal.

    Args:
        num_items: Int >= 1, I, the size of the catalogue.
        latent_dim: Int >= 1, K.
        width: Int >= 1, units of each of the encoder's five layers.
        dropout: Float in [0, 1), share of clicks dropped from the input where the
            encoder trains.
        gamma: Float >= 0, the KL weight of each click.
        encoder_passes: Int >= 1, epochs that train the encoder, in turn.
        decoder_passes: Int >= 1, epochs that train the decoder, in turn.
        seed: Int or None. The same seed on the same backend gives the same weights.
        **kwargs: Passed to `keras.Model` (`name`, `dtype`).

    Returns:
        When called on a batch: unmasked logits (users, num_items), float32.

    Raises:
        ValueError: An argument out of its range, a batch with another number of items
            than `num_items`, data in `fit` whose batches cannot be counted, or, in
            `compile`, another optimiser than `AlternatingAdam`.

    Example:

    >>> from scipy import sparse
    >>> from keras_multvae import RecVAE
    >>> from keras_multvae.data import UserBatches
    >>> clicks = sparse.random(100, 30, density=0.2, format="csr", rng=0)
    >>> clicks.data[:] = 1
    >>> model = RecVAE(num_items=30, latent_dim=4, width=8, seed=1)
    >>> model.compile()
    >>> history = model.fit(UserBatches(clicks, 25), epochs=4, verbose=0)
    >>> [int(steps.numpy()) for steps in model.optimizer.half_steps]
    [12, 4]
    >>> model.score(clicks[:2]).shape
    (2, 30)

    References:
        - [Shenbin et al., 2020](https://arxiv.org/abs/1912.11160)
    """

    # Which half moves is asked at every step.
    steps_alike = False
    Config = RecVAEConfig
    gamma: float

    def __init__(
        self,
        num_items: int,
        latent_dim: int = 200,
        width: int = 600,
        dropout: float = 0.5,
        gamma: float = 0.005,
        encoder_passes: int = 3,
        decoder_passes: int = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        settings = self.Config(
            latent_dim, width, dropout, gamma, encoder_passes, decoder_passes
        )
        super().__init__(num_items, settings, seed, **kwargs)
        self.prior = CompositePrior(dtype="float32", name="prior")
        self.sampling = Sampling(
            seed=self._part_seed(1), dtype="float32", name="sampling"
        )
        self.turns = Turns(
            settings.encoder_passes,
            settings.decoder_passes,
            handover=lambda: (self.old_encoder.weights, self.encoder.weights),
            dtype=self.variable_dtype,
            name="turns",
        )
        sizes = (self.num_items, settings.latent_dim, settings.width)
        options = {"seed": self._part_seed(0), "dtype": self.dtype_policy}
        self.encoder = DenselyConnectedEncoder(
            *sizes, settings.dropout, name="encoder", **options
        )
        self.old_encoder = FrozenEncoder(*sizes, name="old_encoder", **options)
        if seed is None:  # else the two begin alike
            for old, new in zip(
                self.old_encoder.weights, self.encoder.weights, strict=True
            ):
                # A copy: on JAX a training step deletes the array that it was given.
                old.assign(np.array(backend.to_host(new)))
        self.decoder = ItemDecoder(
            self.num_items,
            settings.latent_dim,
            (),
            seed=self._part_seed(2),
            dtype=self.dtype_policy,
            name="decoder",
        )

    @property
    def item_embeddings(self) -> list[tuple[Any, int]]:
        """See `abilities.HasItemEmbeddings`."""
        return item_embeddings(self.encoder, self.decoder)

    def network(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Logits of all items; adds gamma N KL of each user, (users,), to `losses`."""
        if not training:
            return self._forward(inputs, self.encoder(inputs), False)
        encodes = self.turns.is_first()
        encoder, decoder = (
            half.trainable_variables for half in (self.encoder, self.decoder)
        )
        with backend.without_gradients(ops.logical_not(encodes), encoder):
            found = self.encoder(inputs, training=True, drop=encodes)
        with backend.without_gradients(encodes, decoder):
            return self._forward(inputs, found, True)

    def _forward(
        self, inputs: Tensor, found: tuple[Tensor, Tensor], training: bool
    ) -> Tensor:
        """From q(z | x), the pair `found`, to the logits and the KL."""
        # The encoder, if its turn has just ended, is the old one from now on.
        z = self.turns(self.sampling(found, training=training), training=training)
        old = map(ops.stop_gradient, self.old_encoder(inputs))
        kl = self.prior((*found, z, *old))
        self._kl_of_batch = kl
        self.add_loss(self.gamma * ops.cast(_clicks(inputs), kl.dtype) * kl)
        return self.decoder(z)

    def end_batch(self, training: bool) -> None:
        """See `GaussianAutoencoder`."""
        if training:
            self.turns.count_batch()

    def default_optimizer(self, learning_rate: Tensor = 5e-4) -> AlternatingAdam:
        """See `RankingModel`."""
        return AlternatingAdam(learning_rate)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """See `RankingModel.compile`; the optimiser is an `AlternatingAdam`, or None.

        Args:
            *args: See `RankingModel.compile`.
            **kwargs: See `RankingModel.compile`.
        """
        super().compile(*args, **kwargs)
        if not isinstance(self.optimizer, AlternatingAdam):
            raise ValueError(
                f"{type(self).__name__} is trained by an AlternatingAdam, which lets "
                "one half of the network stand still; loss scaling, as of "
                "mixed_float16, does not go with it. Received: optimizer="
                f"{self.optimizer!r}. Leave `optimizer` out, or pass "
                "AlternatingAdam(learning_rate)."
            )
        if backend.num_replicas() > 1:
            raise ValueError(
                f"{type(self).__name__} does not train under a tf.distribute.Strategy "
                "of several replicas. Received one of "
                f"{backend.num_replicas()}. Train on one device, or on JAX with "
                "keras_multvae.distribution."
            )
        self.optimizer.alternate(
            self.turns.alternation, self.encoder.trainable_variables
        )
        self.optimizer.build(self.trainable_variables)
        self.optimizer.begin_pass(self.turns.passes, 1)

    def begin_pass(self, batches: int) -> None:
        """A pass of so many batches begins, in the model and in its optimiser."""
        self.turns.begin_pass(batches)
        self.optimizer.begin_pass(self.turns.passes, batches)

    def fit(self, x: Clicks = None, *args: Any, **kwargs: Any) -> Any:
        """See `RankingModel.fit`; each epoch is a pass, of the encoder or decoder."""
        arguments = arguments_of("fit", x, *args, **kwargs)
        callbacks = arguments.pop("callbacks", None)
        if isinstance(callbacks, keras.callbacks.Callback):
            callbacks = [callbacks]
        return super().fit(callbacks=[_BeginPass(), *(callbacks or ())], **arguments)


class _BeginPass(keras.callbacks.Callback):
    """Tells a model how many batches Keras has counted in an epoch."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        batches = (self.params or {}).get("steps")
        if not batches:
            raise ValueError(
                "RecVAE trains its halves in turns, an epoch each, so fit() must know "
                "how many batches an epoch has. These data do not tell: pass "
                "UserBatches or arrays, or `steps_per_epoch`."
            )
        self.model.begin_pass(batches)


def _clicks(inputs: Tensor) -> Tensor:
    """N of each user, (users,): the sum of the row."""
    if ragged.is_ragged(inputs):
        return ragged.segment_sum(inputs, ops.cast(inputs["values"], "float32"))
    return ops.sum(ops.cast(inputs, "float32"), axis=-1)
