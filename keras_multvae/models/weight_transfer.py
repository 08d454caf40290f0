"""Transfer of weights and optimiser state to a model with more or other items."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_multvae import backend
from keras_multvae.typing import Model, Variable


def compile_alike(old: Model, new: Model) -> None:
    """Compiles `new` like `old`, and builds its optimiser."""
    config = old.get_compile_config()
    if config:
        new.compile_from_config(config)
        if not new.optimizer.built:
            new.optimizer.build(new.trainable_variables)


def copy_state(
    old: Model, new: Model, fill: Callable[[Model, Variable], float] | None = None
) -> None:
    """Copies weights, random state and optimiser state.

    Items past the end of the new model are dropped. New items get an optimiser state of
    0, and no entries in the linear path.

    Args:
        old: A model.
        new: A model of the same configuration, except for the number of items or the
            linear path; compiled if the optimiser's state is to be copied.
        fill: Initial value for new items: a function of the old model and the weight.
            By default the mean over the old items.
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
    # An optimiser that has not been used has no state, and must get none here.
    if new.compiled and old.optimizer.built:
        for source, target in zip(
            old.optimizer.variables, new.optimizer.variables, strict=True
        ):
            target.assign(_fitted(source, target.shape, 0.0))


def take_weights(old: Model, new: Model, places: np.ndarray) -> None:
    """Copies weights item by item; optimiser and random state are not copied.

    New items get the mean over the old ones, as in `copy_state`. Linear paths are
    unchanged.

    Args:
        old: A model.
        new: A model of the same class and shapes, except for the items.
        places: (items of the new model,) int, where each is in the old one, or -1.

    Raises:
        ValueError: The other dimensions of some weights differ.
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
    """For each weight the axis of the items, or None: the one that grows by an item."""
    config = {**model.get_config(), "num_items": model.num_items + 1}
    larger = type(model).from_config(config)
    axes = []
    for small, large in zip(
        network_weights(model), network_weights(larger), strict=True
    ):
        differ = [a != b for a, b in zip(small.shape, large.shape, strict=True)]
        axes.append(differ.index(True) if any(differ) else None)
    return axes


def _layers(model: Model) -> list[keras.layers.Layer]:
    """A model's layers, without its linear path."""
    return [layer for layer in model.layers if layer is not model.linear_path]


def network_weights(model: Model) -> list[Variable]:
    """A model's weights, without those of its linear path."""
    path = [] if model.linear_path is None else model.linear_path.weights
    of_path = {id(weight) for weight in path}
    return [weight for weight in model.weights if id(weight) not in of_path]


def _fitted(
    variable: Variable, shape: tuple[int, ...], fill: float | None
) -> np.ndarray:
    """The values in `shape`, with the items' axis truncated or padded."""
    values = backend.to_host(variable)
    # Only the items' axis differs, and no weight has two of them.
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
    """The mean along an axis, which is kept, in the dtype of the values."""
    # 16-bit numbers must not be summed in 16 bits.
    wide = np.result_type(values, np.float32)
    return values.mean(axis=axis, keepdims=True, dtype=wide).astype(values.dtype)
