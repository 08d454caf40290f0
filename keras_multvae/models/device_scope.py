"""Where a model computes: on one device, or under a `keras.distribution`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from keras_multvae import compat
from keras_multvae.typing import Model


@contextmanager
def single_device() -> Iterator[None]:
    """A context in which no distribution is in force: models are made on one device."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


@contextmanager
def device_scope(model: Model) -> Iterator[None]:
    """A context for computing with a model, wherever it was made.

    A model that was made on one device may be used by one process alone, while its
    distributed copy is still being trained by all.
    """
    if compat.layout_of(model.weights[0]) is None:
        with single_device():
            yield
    else:
        yield
