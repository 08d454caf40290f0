"""Small parts of a training step, and of what `compile` is told."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_multvae import ragged, compat
from keras_multvae.typing import Json, Tensor


def has_targets(y: Tensor) -> bool:
    """False for None and for the (users, 0) array that `UserBatches` puts there."""
    return y is not None and (ragged.is_ragged(y) or y.shape[-1] != 0)


def weighed(values: Tensor, sample_weight: Tensor) -> Tensor:
    """Values (users,) times the weights of the users, if there are any."""
    if sample_weight is None:
        return values
    return values * ops.cast(ops.reshape(sample_weight, (-1,)), values.dtype)


def check_policy(policy: Any) -> None:
    """Raises `ValueError` for a dtype that not every backend computes in."""
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


def portable(config: Json, jit_compile: bool | str) -> dict[str, Any]:
    """What `compile` was called with, as it holds on every backend.

    Keras keeps what "auto" came to on this backend, wrong on the next, and on PyTorch
    the name of an optimiser class that only runs there.

    Args:
        config: Of `keras.Model.get_compile_config`.
        jit_compile: As it was asked for.
    """
    optimizer = _portable_optimizer(config["optimizer"])
    return {**config, "optimizer": optimizer, "jit_compile": jit_compile}


def _portable_optimizer(config: Json) -> dict[str, Any]:
    optimizer = dict(config)
    if compat.is_for_torch_only(optimizer["module"]):
        optimizer.update(module="keras.optimizers", registered_name=None)
    # A loss scaler is made of another one.
    inner = optimizer["config"].get("inner_optimizer")
    if inner is not None:
        inner = _portable_optimizer(inner)
        optimizer["config"] = {**optimizer["config"], "inner_optimizer": inner}
    return optimizer
