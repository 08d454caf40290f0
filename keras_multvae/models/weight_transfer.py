"""Carrying weights and optimiser state over to a model with more or other items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_multvae import backend
from keras_multvae.typing import Model, Variable


def compile_alike(old: Any, new: Any) -> None:
    """Compiles a model as another one is, with an optimiser that has its state."""
    config = old.get_compile_config()
    if config:
        new.compile_from_config(config)
        if not new.optimizer.built:
            new.optimizer.build(new.trainable_variables)


def copy_state(
    old: Any, new: Any, fill: Callable[[Any, Any], float] | None = None
) -> None:
    """Copies weights, random state and optimiser state.

    Items past the end of the new model are left out. What the optimiser knows of items
    past the end of the old one is 0, and a linear path says nothing of them.

    Args:
        old: A model.
        new: A model of the same configuration but for the number of items, or for
            having a linear path, compiled if the optimiser's state is to go along.
        fill: What an item that the old model has not gets in a weight, of the old
            model and that weight; the mean over its items by default.
    """
    for source, target in zip(network_weights(old), network_weights(new), strict=True):
        value = None if fill is None else fill(old, source)
        target.assign(_fitted(source, target.shape, value))
    path, new_path = old.linear_path, new.linear_path
    if path is not None and new_path is not None and path.entries == new_path.entries:
        for source, target in zip(path.weights, new_path.weights, strict=True):
            target.assign(_fitted(source, target.shape, 0))
    for source, target in zip(_layers(old), _layers(new), strict=True):
        if hasattr(source, "seed_generator"):
            # A copy: on JAX a training step deletes the array that it was given.
            state = np.array(backend.to_host(source.seed_generator.state))
            target.seed_generator.state.assign(state)
    # An optimiser that has not begun has no state yet, and is not to get any here.
    if new.compiled and old.optimizer.built:
        for source, target in zip(
            old.optimizer.variables, new.optimizer.variables, strict=True
        ):
            target.assign(_fitted(source, target.shape, 0.0))


def take_weights(old: Any, new: Any, places: np.ndarray) -> None:
    """Copies the weights to a model of other items; optimiser and random state stay.

    An item that the old model has not starts as the mean of those that it has, as in
    `copy_state`. Linear paths are left as they are.

    Args:
        old: A model.
        new: A model of the same class, and of the same shapes but for the items.
        places: (items of the new model,) int, where each is in the old one, or -1.

    Raises:
        ValueError: Weights of other shapes.
    """
    axes = item_axes(old)
    sources, targets = network_weights(old), network_weights(new)
    shapes = [list(source.shape) for source in sources]
    for shape, axis in zip(shapes, axes, strict=True):
        if axis is not None:
            shape[axis] = new.num_items
    if shapes != [list(target.shape) for target in targets]:
        raise ValueError("The two models have weights of other shapes.")
    unknown = places < 0
    for source, target, axis in zip(sources, targets, axes, strict=True):
        values = backend.to_host(source)
        if axis is not None:
            mean = _mean(values, axis)
            values = np.moveaxis(values.take(places, axis), axis, 0).copy()
            values[unknown] = np.moveaxis(mean, axis, 0)
            values = np.moveaxis(values, 0, axis)
        target.assign(values)


def item_axes(model: Model) -> list[int | None]:
    """For each weight the axis of the items: that which a further item makes longer."""
    config = {**model.get_config(), "num_items": model.num_items + 1}
    larger = type(model).from_config(config)
    axes = []
    for small, large in zip(
        network_weights(model), network_weights(larger), strict=True
    ):
        differ = [a != b for a, b in zip(small.shape, large.shape, strict=True)]
        axes.append(differ.index(True) if any(differ) else None)
    return axes


def _layers(model: Model) -> list[Any]:
    """A model's layers but for its linear path."""
    return [layer for layer in model.layers if layer is not model.linear_path]


def network_weights(model: Model) -> list[Any]:
    """A model's weights but for those of its linear path."""
    path = [] if model.linear_path is None else model.linear_path.weights
    of_path = {id(weight) for weight in path}
    return [weight for weight in model.weights if id(weight) not in of_path]


def _fitted(
    variable: Variable, shape: tuple[int, ...], fill: float | None
) -> np.ndarray:
    """The values in `shape`, the axis of the items cut, or filled with their mean."""
    values = backend.to_host(variable)
    # Only the axis of the items differs, and no weight has two of them.
    for axis, size in enumerate(shape):
        missing = size - values.shape[axis]
        if missing > 0:
            one = _mean(values, axis)
            if fill is not None:
                one = np.full_like(one, fill)
            new = np.repeat(one, missing, axis=axis)
            values = np.concatenate([values, new], axis=axis)
        elif missing < 0:
            values = values.take(np.arange(size), axis=axis)
    return values


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean along an axis, which stays, in the type of the values."""
    # Of 16-bit numbers it must not be added up in 16 bits.
    wide = np.result_type(values, np.float32)
    return values.mean(axis=axis, keepdims=True, dtype=wide).astype(values.dtype)
