"""Variational autoencoders: sampling, the KL to a prior and its weight beta."""

from __future__ import annotations

import keras
from keras import ops

from keras_multvae.layers import Beta, Prior, Sampling, StandardNormal
from keras_multvae.metrics import LastValue
from keras_multvae.models.gaussian import GaussianAutoencoder
from keras_multvae.schedules import BetaSchedule
from keras_multvae.settings import NON_NEGATIVE, Settings, checked
from keras_multvae.typing import Json, Tensor


class VariationalModel(GaussianAutoencoder):
    """An `Autoencoder` trained on `log p(x | z) - beta * KL(q(z | x) || p(z))`.

    Its encoder gives the pair (mean, log_var) of q(z | x); z is drawn from q in
    training and its mean in inference. beta is a function of the optimiser step; see
    `MultVAE`.

    Args:
        num_items: See `RankingModel`.
        settings: See `RankingModel`.
        seed: See `RankingModel`.
        beta: Float >= 0, the KL weight when no `BetaAnneal` sets a schedule.
        prior: A `keras_multvae.layers.Prior`; N(0, I) by default.
        **kwargs: Passed to `keras.Model`.
    """

    def __init__(
        self,
        num_items: int,
        settings: Settings,
        seed: int | None,
        beta: float = 0.2,
        prior: Prior | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(num_items, settings, seed, **kwargs)
        self.prior = prior or StandardNormal(dtype="float32", name="prior")
        self.sampling = Sampling(
            seed=self._part_seed(1), dtype="float32", name="sampling"
        )
        beta = checked("beta", beta, NON_NEGATIVE)
        self.beta = Beta(beta, dtype="float32", name="beta")
        self._beta_tracker = LastValue(name="beta")

    def network(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Logits of all items; adds beta * KL of each user, (users,), to `losses`."""
        mean, log_var = self.encoder(inputs, training=training)
        z = self.sampling((mean, log_var), training=training)
        self.add_kl(mean, log_var, z)
        return self.decoder(z)

    def add_kl(self, mean: Tensor, log_var: Tensor, z: Tensor) -> None:
        """Adds beta * KL of each user to `losses`; called once by `network`."""
        kl = self.prior((mean, log_var, z))
        self.add_loss(self.beta(kl, accumulation=self._accumulation))
        # If beta is 0, the KL for the logs cannot be found from `losses`.
        self._kl_of_batch = kl

    @property
    def trackers(self) -> tuple[keras.metrics.Metric, ...]:
        """nll, kl and beta."""
        return *super().trackers, self._beta_tracker

    @property
    def _accumulation(self) -> int:
        """Batches for each optimiser step."""
        optimizer = getattr(self, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        return getattr(optimizer, "gradient_accumulation_steps", None) or 1

    @property
    def batches_seen(self) -> int:
        """Training batches so far."""
        return int(ops.convert_to_numpy(self.beta.batches_seen))

    def set_beta_schedule(self, schedule: BetaSchedule) -> None:
        """Makes beta follow `schedule` from the next step on; keeps the step count."""
        self.beta.set_schedule(schedule)

    def end_batch(self, training: bool) -> None:
        """See `GaussianAutoencoder`."""
        self._beta_tracker.update_state(self.beta.current(self._accumulation))
        if training:
            self.beta.count_batch()

    def get_config(self) -> Json:
        """See `keras.Model.get_config`."""
        return {**super().get_config(), "beta": self.beta.initial}
