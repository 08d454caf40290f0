"""Small parts of a training step, and of what `compile` is told."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_multvae import bags, compat


def has_targets(y: Any) -> bool:
    """False for None and for the (users, 0) array that `UserBatches` puts there."""
    return y is not None and (bags.is_bags(y) or y.shape[-1] != 0)


def weighed(values: Any, sample_weight: Any) -> Any:
    """Values (users,) times the weights of the users, if there are any."""
    if sample_weight is None:
        return values
    return values * ops.cast(ops.reshape(sample_weight, (-1,)), values.dtype)


def portable(config: dict[str, Any], jit_compile: bool | str) -> dict[str, Any]:
    """What `compile` was called with, as it holds on every backend.

    Keras keeps what "auto" came to on this backend, wrong on the next, and on PyTorch
    the name of an optimiser class that only runs there.

    Args:
        config: Of `keras.Model.get_compile_config`.
        jit_compile: As it was asked for.
    """
    optimizer = dict(config["optimizer"])
    if compat.is_for_torch_only(optimizer["module"]):
        optimizer.update(module="keras.optimizers", registered_name=None)
    return {**config, "optimizer": optimizer, "jit_compile": jit_compile}
