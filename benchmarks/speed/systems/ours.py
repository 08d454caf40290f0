"""keras_multvae on the backend that KERAS_BACKEND names."""

from __future__ import annotations

import time
from typing import Any

# Before Keras, as in the commands: on JAX it then has one heap for all threads.
import keras_multvae  # noqa: F401

# isort: split
import keras
from scipy import sparse

from benchmarks.speed.systems.bare import bare_epoch
from keras_multvae import BetaAnneal, MultVAE, Recommender, SampledSoftmax
from keras_multvae.data import Interactions, UserBatches, load_prepared


class Ours:
    """The paper's network in its default compilation."""

    def __init__(self, clicks: str, batch_size: int, dtype: str = "float32") -> None:
        self.clicks = Interactions.from_matrix(sparse.load_npz(clicks))
        self._make(batch_size, dtype)

    def _make(self, batch_size: int, dtype: str, **options: Any) -> None:
        self.model = MultVAE(self.clicks.num_items, seed=0, dtype=dtype, **options)
        self.model.compile()
        self.batches = UserBatches(self.clicks, batch_size, seed=0)
        self.prepared: Any = None
        self.recommender = Recommender(
            self.model, self.clicks.items, histories=self.clicks
        )

    def epoch(self, callbacks: Any = ()) -> None:
        self.model.fit(self.batches, callbacks=[BetaAnneal(), *callbacks], verbose=0)

    def prepare_bare(self) -> None:
        """Puts the batches of an epoch on the device."""
        self.prepared = bare_epoch(self.model, self.batches)

    def bare(self) -> None:
        """The compiled step over these batches, and nothing else."""
        self.prepared()

    def recommend(self, k: int) -> int:
        """Ranks for all users; the number of items recommended."""
        users = self.clicks.users.ids.tolist()
        found = self.recommender.recommend(user_ids=users, k=k)
        return sum(len(items) for items in found.items)


class InParts(Ours):
    """Whose epochs are timed in parts."""

    def warm_up(self) -> None:
        """A few steps, which compile the step."""
        self.model.fit(
            self.batches, steps_per_epoch=4, callbacks=[BetaAnneal()], verbose=0
        )

    def parts(self, steps: int) -> list[float]:
        """An epoch; the seconds of every so many steps of it."""
        clock = Clock(steps)
        self.epoch([clock])
        return clock.seconds


class Mapped(InParts):
    """Trains from a prepared folder that stays on disk."""

    def __init__(self, folder: str, batch_size: int, dtype: str = "float32") -> None:
        self.clicks = load_prepared(folder, mmap=True).split.train
        self._make(batch_size, dtype)


class Sampled(InParts):
    """Trains with a sampled softmax, one hidden layer as wide as the latent vector."""

    def __init__(
        self,
        clicks: str,
        batch_size: int,
        units: int,
        num_sampled: int,
        embedding_dtype: str | None = None,
    ) -> None:
        self.clicks = Interactions.from_matrix(sparse.load_npz(clicks))
        self._make(
            batch_size,
            "float32",
            latent_dim=units,
            hidden_dims=(units,),
            head=SampledSoftmax(num_sampled, embedding_dtype=embedding_dtype),
        )


class Clock(keras.callbacks.Callback):
    """Notes how long every so many steps take; the last ones may be fewer."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.seconds: list[float] = []
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (batch + 1) % self.steps == 0:
            now = time.perf_counter()
            self.seconds.append(now - self.start)
            self.start = now
