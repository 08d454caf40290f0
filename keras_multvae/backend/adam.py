"""Adam's formula, for backends without a fused kernel for some rows."""

from __future__ import annotations

from keras import ops

from keras_multvae.typing import Tensor


def adam_step(
    weights: Tensor,
    momentum: Tensor,
    velocity: Tensor,
    gradient: Tensor,
    step: Tensor,
    learning_rate: Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights and both moments after a step; `step` counts from 1."""
    gradient, step = (ops.cast(each, weights.dtype) for each in (gradient, step))
    momentum = momentum + (gradient - momentum) * (1 - beta_1)
    velocity = velocity + (ops.square(gradient) - velocity) * (1 - beta_2)
    rate = ops.cast(learning_rate, weights.dtype)
    rate = rate * ops.sqrt(1 - ops.power(beta_2, step)) / (1 - ops.power(beta_1, step))
    weights = weights - rate * momentum / (ops.sqrt(velocity) + epsilon)
    return weights, momentum, velocity
