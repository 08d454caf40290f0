"""Adam in one pass over the weights, on PyTorch."""

from __future__ import annotations

import torch

from keras_multvae import compat
from keras_multvae.typing import Tensor, Variable

# A step number at which Adam's bias corrections are 1.
FAR = 1e12
_adam = compat.torch_adam()


def fuses_adam(gradient: Tensor, variable: Variable) -> bool:
    """See `keras_multvae.backend`."""
    return variable.value.device.type in ("cpu", "cuda", "mps", "xpu")


def adam_update(
    variable: Variable,
    momentum: Variable,
    velocity: Variable,
    gradient: Tensor,
    step: Tensor,
    learning_rate: Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """See `keras_multvae.backend`."""
    tensors = (variable.value, momentum.value, velocity.value)
    gradient = gradient.to(variable.value.dtype)
    fused_adam(*tensors, gradient, step, learning_rate, beta_1, beta_2, epsilon)


def fused_adam(
    weights: Tensor,
    momentum: Tensor,
    velocity: Tensor,
    gradient: Tensor,
    step: Tensor,
    learning_rate: Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """A step of Adam on tensors, in place.

    The step and the rate are tensors: reading them would make the host wait for a GPU.
    """
    step = step.to(torch.float64)
    # Keras adds epsilon to sqrt(v) before it corrects the bias of v, PyTorch after it.
    # So the learning rate includes the corrections, and PyTorch gets a step number at
    # which it makes none.
    corrections = (1 - beta_2**step).sqrt() / (1 - beta_1**step)
    with torch.no_grad():
        _adam(
            [weights],
            [gradient],
            [momentum],
            [velocity],
            [],
            [torch.full((), FAR, device=weights.device)],
            fused=True,
            amsgrad=False,
            beta1=beta_1,
            beta2=beta_2,
            lr=(learning_rate * corrections).to(torch.float32),
            weight_decay=0.0,
            eps=epsilon,
            maximize=False,
        )
