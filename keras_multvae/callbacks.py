"""The callback through which the KL weight moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_multvae.schedules import BetaSchedule, ConstantBeta, CyclicalBeta, LinearBeta

_SCHEDULES: dict[str, Callable[[float, float], BetaSchedule]] = {
    "linear": LinearBeta,
    "constant": lambda cap, total_steps: ConstantBeta(cap),
    "cyclical": CyclicalBeta,
}


class BetaAnneal(keras.callbacks.Callback):
    """Anneals the KL weight beta of a `MultVAE`, at every optimiser step.

    When training begins, the schedule is written into the model, whose step then
    computes beta from its own count of steps. So beta is exact at any
    `steps_per_execution`, goes on where it was in a second `fit` or after loading, and
    is in the logs as `beta`, the value of the last step.

    Args:
        cap: Float >= 0, where beta stops rising. The paper's best is about 0.2.
        total_steps: Optimiser steps in which beta would reach 1 (not `cap`); for
            "cyclical", the steps of one cycle. The paper's 200,000 suit ML-20M, 855
            epochs of it; on small data choose fewer, or beta stays near 0.
        schedule: "linear", "constant" (beta = cap) or "cyclical", or a schedule of
            `keras_multvae.schedules`, which then brings its own cap and steps.

    Raises:
        ValueError: An unknown schedule or a number out of range.
        TypeError: When training begins, for a model that has no beta.

    Example:

    >>> BetaAnneal(cap=0.2, total_steps=1000).schedule(100)
    0.1

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.2.2
    """

    def __init__(
        self,
        cap: float = 0.2,
        total_steps: float = 200_000,
        schedule: str | BetaSchedule = "linear",
    ) -> None:
        super().__init__()
        if isinstance(schedule, BetaSchedule):
            self.schedule = schedule
        elif schedule in _SCHEDULES:
            self.schedule = _SCHEDULES[schedule](cap, total_steps)
        else:
            raise ValueError(
                f"`schedule` must be one of {', '.join(_SCHEDULES)} or a BetaSchedule. "
                f"Received: schedule={schedule!r}."
            )

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Writes the schedule into the model."""
        if not hasattr(self.model, "set_beta_schedule"):
            raise TypeError(
                "BetaAnneal anneals the beta of a MultVAE. Received a model of type "
                f"{type(self.model).__name__}."
            )
        self.model.set_beta_schedule(self.schedule)
