"""Mult-DAE: the denoising autoencoder beside the variational one."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_multvae.layers import ItemDecoder, PointEncoder
from keras_multvae.losses import Likelihood
from keras_multvae.models.autoencoder import Autoencoder
from keras_multvae.models.multdae_config import MultDAEConfig


@keras.saving.register_keras_serializable(package="keras_multvae")
class MultDAE(Autoencoder):
    """A denoising autoencoder with a multinomial likelihood for clicks.

    `MultVAE` with a point z in place of a Gaussian: without sampling and KL, and with
    L2 regularisation of the kernels. The objective is, per user, `log p(x | z)`, minus
    the L2 term once a batch. The encoder is I -> hidden_dims -> K, the decoder K ->
    reversed hidden_dims -> I; tanh after every layer but the last.

    Inputs, metrics, saving and scores are those of `MultVAE`.

    Args:
        num_items: Int >= 1, I, the size of the catalogue.
        latent_dim: Int >= 1, K.
        hidden_dims: Ints, sizes of the encoder's hidden layers; the decoder mirrors
            them. The paper's network I-200-I has none.
        dropout: Float in [0, 1), share of clicks dropped from the input in training.
        likelihood: "multinomial", "gaussian" or "logistic", or an object of
            `keras_multvae.losses`.
        l2: Float >= 0, the weight of the sum of all squared kernel entries.
        seed: Int or None. The same seed on the same backend gives the same weights.
        **kwargs: Passed to `keras.Model` (`name`, `dtype`).

    Returns:
        When called on a batch: unmasked logits (users, num_items), float32.

    Raises:
        ValueError: An argument out of its range, or a batch with another number of
            items than `num_items`.

    Example:

    >>> from scipy import sparse
    >>> from keras_multvae import MultDAE
    >>> from keras_multvae.data import UserBatches
    >>> clicks = sparse.random(100, 30, density=0.2, format="csr", rng=0)
    >>> clicks.data[:] = 1
    >>> model = MultDAE(num_items=30, latent_dim=4, seed=1)
    >>> model.compile()
    >>> history = model.fit(UserBatches(clicks, 25), verbose=0)
    >>> sorted(history.history)
    ['loss', 'nll']

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.2.3
    """

    Config = MultDAEConfig

    def __init__(
        self,
        num_items: int,
        latent_dim: int = 200,
        hidden_dims: Sequence[int] = (),
        dropout: float = 0.5,
        likelihood: str | Likelihood = "multinomial",
        l2: float = 0.01 / 500,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        settings = self.Config(latent_dim, hidden_dims, dropout, likelihood, l2)
        super().__init__(num_items, settings, seed, **kwargs)
        self.encoder = PointEncoder(
            self.num_items,
            settings.latent_dim,
            settings.hidden_dims,
            settings.dropout,
            l2=settings.l2,
            seed=self._part_seed(0),
            dtype=self.dtype_policy,
            name="encoder",
        )
        self.decoder = ItemDecoder(
            self.num_items,
            settings.latent_dim,
            settings.hidden_dims[::-1],
            l2=settings.l2,
            seed=self._part_seed(2),
            dtype=self.dtype_policy,
            name="decoder",
        )
