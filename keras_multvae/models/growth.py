"""Carrying weights and optimiser state over to a model with more items."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops


def copy_state(old: Any, new: Any) -> None:
    """Copies weights, random state and optimiser state; see `with_new_items`.

    Args:
        old: A model.
        new: A model of the same configuration with at least as many items, compiled
            if the optimiser's state is to go along.
    """
    for source, target in zip(old.weights, new.weights, strict=True):
        target.assign(_grown(source, target.shape, of_mean=True))
    for source, target in zip(old.layers, new.layers, strict=True):
        if hasattr(source, "seed_generator"):
            # A copy: on JAX a training step deletes the array that it was given.
            state = ops.convert_to_numpy(source.seed_generator.state)
            target.seed_generator.state.assign(state)
    if new.compiled:
        for source, target in zip(
            old.optimizer.variables, new.optimizer.variables, strict=True
        ):
            target.assign(_grown(source, target.shape, of_mean=False))


def _grown(variable: Any, shape: tuple[int, ...], of_mean: bool) -> np.ndarray:
    """The values in `shape`, the axis of the items filled with their mean or with 0."""
    values = ops.convert_to_numpy(variable)
    # Only the axis of the items differs, and no weight has two of them.
    for axis, size in enumerate(shape):
        missing = size - values.shape[axis]
        if missing:
            fill = values.mean(axis=axis, keepdims=True) * of_mean
            new = np.repeat(fill.astype(values.dtype), missing, axis=axis)
            values = np.concatenate([values, new], axis=axis)
    return values
