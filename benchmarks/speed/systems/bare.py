"""An epoch of Keras' compiled training step on batches that lie ready on the device.

What `fit` takes beyond it goes into making the batches, bringing them to the device,
callbacks, logs, and the beginning and end of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_multvae import backend


def bare_epoch(model: Any, batches: Any) -> Callable[[], None]:
    """A function that steps through all batches of the epoch that is in force.

    The model must have been fitted before, so that its step is compiled.
    """
    ready = [
        keras.tree.map_structure(keras.ops.convert_to_tensor, batches[index])
        for index in range(len(batches))
    ]
    run = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    return lambda: run[keras.backend.backend()](model, ready)


def _tensorflow(model: Any, batches: list[Any]) -> None:
    """`train_function` makes the updates in place."""
    for batch in batches:
        model.train_function(iter([batch]))


def _torch(model: Any, batches: list[Any]) -> None:
    """On PyTorch nothing is compiled by default: the step is `train_step`."""
    # As `fit` does: without it the step waits for memory to be mapped anew.
    with backend.retain_freed_memory():
        for batch in batches:
            model.train_function([batch])


def _jax(model: Any, batches: list[Any]) -> None:
    """`train_function` maps the state of the model to the next one."""
    import jax

    names = (
        "trainable_variables",
        "non_trainable_variables",
        "optimizer_variables",
        "metrics_variables",
    )
    state = model._get_jax_state(
        **dict.fromkeys(names, True), purge_model_variables=True
    )
    for batch in batches:
        _, state = model.train_function(state, iter([batch]))
    jax.block_until_ready(state)
    model._jax_state = dict(zip(names, state, strict=True))
    model._jax_state_synced = False
    model.jax_state_sync()
    model._jax_state = None
