"""Layers whose random state is saved with their weights."""

from __future__ import annotations

import keras

from keras_multvae import backend
from keras_multvae.typing import Store, Tensor

STATE = "seed_state"


class Seeds(keras.random.SeedGenerator):
    """Keras' seed generator, with its state on the host."""

    def __init__(self, seed: int | None = None, **kwargs: object) -> None:
        with backend.on_host():
            super().__init__(seed, **kwargs)

    def next(self, ordered: bool = True) -> Tensor:
        """See `keras.random.SeedGenerator`."""
        with backend.on_host():
            return super().next(ordered)


class SeededLayer(keras.layers.Layer):
    """A layer that draws from `self.seed_generator`.

    Keras saves weights but no random state, so a resumed training would repeat the
    noise of its first steps.
    """

    seed_generator: keras.random.SeedGenerator

    def save_own_variables(self, store: Store) -> None:
        """See `keras.layers.Layer.save_own_variables`."""
        super().save_own_variables(store)
        store[STATE] = keras.ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Store) -> None:
        """See `keras.layers.Layer.load_own_variables`."""
        # Keras' stores cannot be iterated over.
        keys = store.keys()
        weights = {key: store[key] for key in keys if key != STATE}
        super().load_own_variables(weights)
        self.seed_generator.state.assign(store[STATE])
