"""Small functions for training steps and for `compile`."""

from __future__ import annotations

import keras
from keras import ops

from keras_multvae import compat, ragged
from keras_multvae.typing import Json, Tensor


def has_targets(y: Tensor) -> bool:
    """Whether there are targets; None and arrays (users, 0) are none."""
    return y is not None and (ragged.is_ragged(y) or y.shape[-1] != 0)


def weighed(values: Tensor, sample_weight: Tensor) -> Tensor:
    """Values (users,) times sample weights, if there are any."""
    if sample_weight is None:
        return values
    return values * ops.cast(ops.reshape(sample_weight, (-1,)), values.dtype)


def check_policy(policy: keras.DTypePolicy) -> None:
    """Raises `ValueError` for a dtype that some backend cannot compute in."""
    if "float64" in (policy.compute_dtype, policy.variable_dtype):
        raise ValueError(
            "`dtype` must be float32, or a policy as mixed_bfloat16: scores are "
            "float32, and JAX has no float64 unless its whole process has. "
            f"Received: dtype={policy.name!r}."
        )
    if policy.variable_dtype == "float16":
        raise ValueError(
            "`dtype` must be float32, or a policy as mixed_float16: weights in float16 "
            "are too coarse for Adam's steps, and become NaN. Received: "
            f"dtype={policy.name!r}."
        )


def portable(config: Json, jit_compile: bool | str) -> Json:
    """The arguments of `compile`, in a form that every backend can load.

    Keras stores what "auto" means on this backend, which may be wrong on another, and
    on PyTorch the name of an optimiser class that exists only there.

    Args:
        config: The result of `keras.Model.get_compile_config`.
        jit_compile: The argument that `compile` was called with.
    """
    optimizer = _portable_optimizer(config["optimizer"])
    return {**config, "optimizer": optimizer, "jit_compile": jit_compile}


def _portable_optimizer(config: Json) -> Json:
    optimizer = dict(config)
    if compat.is_for_torch_only(optimizer["module"]):
        optimizer.update(module="keras.optimizers", registered_name=None)
    # A loss scaler wraps another optimiser.
    inner = optimizer["config"].get("inner_optimizer")
    if inner is not None:
        inner = _portable_optimizer(inner)
        optimizer["config"] = {**optimizer["config"], "inner_optimizer": inner}
    return optimizer
