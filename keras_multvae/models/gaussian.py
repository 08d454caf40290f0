"""Autoencoders whose code is a Gaussian: sampling and the KL."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_multvae.data.batches import UserBatches
from keras_multvae.models.autoencoder import Autoencoder
from keras_multvae.models.device_scope import device_scope
from keras_multvae.models.steps import weighed
from keras_multvae.settings import Settings
from keras_multvae.typing import Clicks, Tensor


class GaussianAutoencoder(Autoencoder):
    """An `Autoencoder` whose encoder gives the pair (mean, log_var) of q(z | x).

    What is weighed how in the objective is a subclass' affair: its `network` sets
    `_kl_of_batch`, (users,), for the logs.

    Args:
        num_items: See `RankingModel`.
        settings: See `RankingModel`.
        seed: See `RankingModel`.
        **kwargs: Passed to `keras.Model`.
    """

    def __init__(
        self, num_items: int, settings: Settings, seed: int | None, **kwargs: Any
    ) -> None:
        super().__init__(num_items, settings, seed, **kwargs)
        self._kl_tracker = keras.metrics.Mean(name="kl")
        self._kl_of_batch: Any = None

    @property
    def trackers(self) -> tuple[keras.metrics.Metric, ...]:
        """Nll and kl."""
        return *super().trackers, self._kl_tracker

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Mean over users of NLL + the weighted KL, plus regularisation if any."""
        kl, self._kl_of_batch = self._kl_of_batch, None
        if kl is None:
            raise ValueError(
                "compute_loss() needs the model to be called on the same batch first."
            )
        total = super().compute_loss(x, y, y_pred, sample_weight, training)
        self._kl_tracker.update_state(weighed(kl, sample_weight))
        self.end_batch(training)
        return total

    def end_batch(self, training: bool) -> None:
        """What is counted once the loss of a batch is computed, inside the step."""

    def embed(
        self, histories: Clicks, batch_size: int = 500
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of q(z | x): two float32 arrays (users, latent_dim)."""
        histories = self._rows(histories)
        parts = []
        batches = UserBatches(histories, batch_size, shuffle=False, partitions=1)
        with device_scope(self):
            for (inputs,) in batches:
                parts.append(list(map(ops.convert_to_numpy, self.encoder(inputs))))
        means, log_vars = (np.concatenate(part) for part in zip(*parts, strict=True))
        return means, np.exp(log_vars)
