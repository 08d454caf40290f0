"""The callbacks through which the KL weight moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from keras_multvae import checks
from keras_multvae.abilities import HasBeta, can
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
        _check_has_beta(self)
        self.model.set_beta_schedule(self.schedule)


class FreezeBeta(keras.callbacks.Callback):
    """Stops raising beta when validation falls: the paper's choice of beta in one run.

    Put it after a `BetaAnneal` that would raise beta to 1. When the monitored metric
    has not improved for `patience` epochs, beta goes back to its value at the best
    epoch and stays there for the rest of the `fit`.

    Args:
        monitor: A name in the logs; more is better.
        patience: Int >= 1, epochs without improvement that are waited for.

    Attributes:
        frozen: Float, the beta that was kept; None while it still moves.

    Raises:
        ValueError: `patience` below 1, or `monitor` is not in the logs: there is no
            validation data.
        TypeError: When training begins, for a model that has no beta.

    Example:

    >>> callbacks = [BetaAnneal(cap=1.0, total_steps=1000), FreezeBeta()]

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.2.2
    """

    def __init__(self, monitor: str = "val_ndcg_at_100", patience: int = 3) -> None:
        super().__init__()
        self.monitor = monitor
        self.patience = checks.integer("patience", patience)
        self.frozen: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forgets an earlier fit."""
        _check_has_beta(self)
        self.frozen = None
        self._best, self._beta, self._waited = -math.inf, 0.0, 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the metric, and freezes beta once it has fallen."""
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                f"FreezeBeta watches {self.monitor!r}, but the logs have only "
                f"{sorted(logs)}: fit() needs validation_data with targets."
            )
        if logs[self.monitor] > self._best:
            self._best, self._beta = logs[self.monitor], float(logs["beta"])
            self._waited = 0
            return
        self._waited += 1
        if self.frozen is None and self._waited >= self.patience:
            self.frozen = self._beta
            self.model.set_beta_schedule(ConstantBeta(self._beta))


def _check_has_beta(callback: keras.callbacks.Callback) -> None:
    if not can(callback.model, HasBeta):
        raise TypeError(
            f"{type(callback).__name__} moves the beta of a MultVAE or of a model like "
            f"it. Received a model of type {type(callback.model).__name__}."
        )
