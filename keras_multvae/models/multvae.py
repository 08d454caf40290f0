"""Mult-VAE: the network and its objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras

from keras_multvae.layers import InteractionEncoder, ItemDecoder, EmbeddingDecoder
from keras_multvae.models.heads import SampledSoftmax
from keras_multvae.models.multvae_config import MultVAEConfig
from keras_multvae.models.sampled import SampledTraining
from keras_multvae.typing import Json


@keras.saving.register_keras_serializable(package="keras_multvae")
class MultVAE(SampledTraining):
    """A variational autoencoder with a multinomial likelihood for clicks.

    The objective is, per user, `log p(x | z) - beta * KL(q(z | x) || N(0, I))`, with z
    drawn from q in training and its mean in inference. The encoder is I -> hidden_dims
    -> 2K, the decoder K -> reversed hidden_dims -> I; tanh between layers.

    Inputs are batches of `UserBatches` or dense rows (users, num_items) of counts:
    NumPy arrays, a `tf.data.Dataset`, a PyTorch `DataLoader`. A batch of
    `(input, targets)` scores the targets instead of the input; `evaluate` and
    validation then report `recall_at_20`, `recall_at_50` and `ndcg_at_100` of the
    targets with the input's items masked. Losses are means over users; `sample_weight`
    weighs likelihood and KL of a user alike.

    beta is a function of the optimiser step, computed inside the step from two
    non-trainable weights, the schedule and the number of training batches so far
    (divided by the optimiser's `gradient_accumulation_steps`). Both are saved with the
    weights. A step that loss scaling skips counts like any other. Without a
    `BetaAnneal` callback the schedule is the constant `beta`; a schedule stays until
    another one is set.

    Args:
        num_items: Int >= 1, I, the size of the catalogue.
        latent_dim: Int >= 1, K.
        hidden_dims: Ints, sizes of the encoder's hidden layers; the decoder mirrors
            them. `()` gives a linear model.
        dropout: Float in [0, 1), share of clicks dropped from the input in training.
        likelihood: "multinomial", "gaussian" or "logistic", or an object of
            `keras_multvae.losses`.
        beta: Float >= 0, the KL weight when no `BetaAnneal` sets a schedule.
        tied: Bool, whether the decoder's last kernel is the encoder's first, which
            halves the weights; needs a hidden layer.
        head: None, or a `SampledSoftmax`: training then scores the clicked and some
            sampled items in place of all.
        seed: Int or None. The same seed on the same backend gives the same weights.
        **kwargs: Passed to `keras.Model` (`name`, `dtype`).

    Returns:
        When called on a batch: unmasked logits (users, num_items), float32.

    Raises:
        ValueError: An argument out of its range, a batch with another number of items
            than `num_items`, or, in `compile`, an optimiser that does not go with
            the head's `embedding_dtype`.

    Example:

    >>> import numpy as np
    >>> from scipy import sparse
    >>> from keras_multvae import BetaAnneal, MultVAE
    >>> from keras_multvae.data import UserBatches
    >>> clicks = sparse.random(100, 30, density=0.2, format="csr", rng=0)
    >>> clicks.data[:] = 1
    >>> model = MultVAE(num_items=30, latent_dim=4, hidden_dims=(16,), seed=1)
    >>> model.compile()
    >>> callbacks = [BetaAnneal(total_steps=40)]
    >>> history = model.fit(UserBatches(clicks, 25), callbacks=callbacks, verbose=0)
    >>> round(history.history["beta"][0], 6)  # of the fourth and last step
    0.075
    >>> model.score(clicks[:2]).shape
    (2, 30)

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814)
    """

    Config = MultVAEConfig

    def __init__(
        self,
        num_items: int,
        latent_dim: int = 200,
        hidden_dims: Sequence[int] = (600,),
        dropout: float = 0.5,
        likelihood: object = "multinomial",
        beta: float = 0.2,
        tied: bool = False,
        head: SampledSoftmax | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        settings = self.Config(latent_dim, hidden_dims, dropout, likelihood, tied, head)
        super().__init__(num_items, settings, seed, beta=beta, **kwargs)
        self.encoder = InteractionEncoder(
            self.num_items,
            settings.latent_dim,
            settings.hidden_dims,
            settings.dropout,
            embedding_dtype=self.embedding_dtype,
            seed=self._part_seed(0),
            dtype=self.dtype_policy,
            name="encoder",
        )
        self.decoder = self._make_decoder(settings)
        self.make_candidates()

    def _make_decoder(self, settings: MultVAEConfig) -> ItemDecoder | EmbeddingDecoder:
        sizes = (self.num_items, settings.latent_dim, settings.hidden_dims[::-1])
        options = {
            "seed": self._part_seed(2),
            "dtype": self.dtype_policy,
            "name": "decoder",
        }
        # An item's row lies together where a step takes some rows of the table.
        if settings.tied or settings.head is not None:
            table = (lambda: self.encoder.kernel) if settings.tied else None
            return EmbeddingDecoder(
                *sizes, embedding_dtype=self.embedding_dtype, table=table, **options
            )
        return ItemDecoder(*sizes, **options)

    @classmethod
    def from_config(cls, config: Json, custom_objects: object = None) -> Self:
        """See `keras.Model.from_config`."""
        return super().from_config(_of_before(config), custom_objects)


def _of_before(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with a `head`, where it had four arguments in its place."""
    config = dict(config)
    if "output" in config:
        sampled = config.pop("output") == "sampled"
        names = ("num_sampled", "sampler", "table_dtype")
        head = {name: config.pop(name) for name in names if name in config}
        config["head"] = {"type": "sampled", **head} if sampled else None
    return config
