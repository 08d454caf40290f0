"""Callbacks: the KL weight, and the closed form for item embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np
from scipy import sparse

from keras_multvae import backend, checks
from keras_multvae.abilities import HasBeta, HasItemEmbeddings, can, require
from keras_multvae.schedules import BetaSchedule, ConstantBeta, CyclicalBeta, LinearBeta
from keras_multvae.typing import Logs

if TYPE_CHECKING:
    from keras_multvae.data import Interactions

# The number of users in a block whose products are in memory at a time.
USERS_AT_ONCE = 1 << 14
_SCHEDULES: dict[str, Callable[[float, float], BetaSchedule]] = {
    "linear": LinearBeta,
    "constant": lambda cap, total_steps: ConstantBeta(cap),
    "cyclical": CyclicalBeta,
}


class BetaAnneal(keras.callbacks.Callback):
    """Anneals the KL weight beta of a `MultVAE`, at every optimiser step.

    When training begins, the schedule is written into the model, which computes beta
    inside its step from its own step count. So beta is exact at any
    `steps_per_execution` and continues in a second `fit` or after loading. The logs
    have its last value as `beta`.

    Args:
        cap: Float >= 0, where beta stops rising. The paper's best is about 0.2.
        total_steps: Optimiser steps in which beta would reach 1 (not `cap`); for
            "cyclical", the steps of one cycle. The paper's 200,000 are 855 epochs of
            ML-20M; choose fewer for small data, or beta stays near 0.
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

    def __repr__(self) -> str:
        return f"BetaAnneal(schedule={self.schedule})"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Writes the schedule into the model."""
        _check_has_beta(self)
        self.model.set_beta_schedule(self.schedule)


class FreezeBeta(keras.callbacks.Callback):
    """Stops raising beta when validation falls, to find the paper's beta in one run.

    Put it after a `BetaAnneal` that would raise beta to 1. When the monitored metric
    has not improved for `patience` epochs, beta goes back to its value at the best
    epoch and stays there for the rest of the `fit`.

    Args:
        monitor: A name in the logs; more is better.
        patience: Int >= 1, epochs without improvement before beta is frozen.

    Attributes:
        frozen: Float, the final beta; None while it still rises.

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

    def __repr__(self) -> str:
        settings = f"monitor={self.monitor!r}, patience={self.patience}"
        return f"FreezeBeta({settings}, frozen={self.frozen})"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Resets the state of an earlier `fit`."""
        _check_has_beta(self)
        self.frozen = None
        self._best, self._beta, self._waited = -math.inf, 0.0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Checks the metric, and freezes beta once it has fallen."""
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


class ImplicitSLIM(keras.callbacks.Callback):
    """Moves item embeddings towards those of a linear model, every `every` epochs.

    Before an epoch whose number, from 0, is a multiple of `every`, each item embedding
    matrix W (units, items) of the model, the encoder's first and the decoder's last,
    becomes
    `alpha W A^T (I + alpha C A^T)^-1 C`. A is W with 0 for items of few clicks,
    `M = (l2 A + A X^T X) D^2`, `C = l2 M + M X^T X`, `D = diag(1 / (n + l2))`, X the
    clicks and n their number for each item. The formula applies SLIM's item weights,
    which are never computed, to the embeddings. The optimiser's moments are unchanged.

    The cost is a few products of X with embedding matrices, by blocks of users, and
    memory for some of these matrices in float64. No matrix (items, items) is made.

    Args:
        interactions: `Interactions` or a SciPy sparse matrix (users, items), the
            training clicks; any value above 0 is one.
        every: Int >= 1, epochs between two updates. An epoch is one pass over the data:
            the paper's 10 are 40 for a `RecVAE`, whose cycle has four passes.
        l2: Float > 0, lambda, regularisation of the linear model.
        alpha: Float > 0, how much the embeddings follow the linear model.
        min_clicks: Int >= 0, the clicks that an item needs to influence other items.
            1000 suits ML-20M.

    Raises:
        ValueError: An argument out of range, data without an item of `min_clicks`
            clicks, or, when training begins, another number of items than the model's.
        TypeError: `interactions` is no such matrix, or, when training begins, the
            model has no item embeddings.

    Example:

    >>> from scipy import sparse
    >>> from keras_multvae import ImplicitSLIM, RecVAE
    >>> from keras_multvae.data import UserBatches
    >>> clicks = sparse.random(100, 30, density=0.2, format="csr", rng=0)
    >>> slim = ImplicitSLIM(clicks, every=4, l2=50, min_clicks=10)
    >>> model = RecVAE(num_items=30, latent_dim=4, width=8)
    >>> model.compile()
    >>> batches = UserBatches(clicks, 50)
    >>> history = model.fit(batches, epochs=5, callbacks=[slim], verbose=0)
    >>> slim.updates
    1

    References:
        - [Shenbin and Nikolenko, 2024](https://arxiv.org/abs/2406.00198)
    """

    def __init__(
        self,
        interactions: Interactions | sparse.spmatrix,
        every: int = 10,
        l2: float = 500.0,
        alpha: float = 1.0,
        min_clicks: int = 1000,
    ) -> None:
        super().__init__()
        matrix: sparse.spmatrix = getattr(interactions, "matrix", interactions)
        if not sparse.issparse(matrix):
            raise TypeError(
                "`interactions` must be Interactions or a SciPy sparse matrix (users, "
                f"items). Received: {type(interactions).__name__}."
            )
        self.every = checks.integer("every", every)
        self.l2 = checks.number("l2", l2, above=0)
        self.alpha = checks.number("alpha", alpha, above=0)
        self.min_clicks = checks.integer("min_clicks", min_clicks, at_least=0)
        self.clicks = (matrix.tocsr() > 0).astype("float32")
        self.item_clicks = np.bincount(
            self.clicks.indices, minlength=self.clicks.shape[1]
        )
        most = self.item_clicks.max(initial=0)
        if most < max(self.min_clicks, 1):
            raise ValueError(
                f"`min_clicks` must be at most {most}, the clicks of the most clicked "
                "item, or all item embeddings would become 0. Received: min_clicks="
                f"{min_clicks}."
            )
        self.updates = 0

    def __repr__(self) -> str:
        users, items = self.clicks.shape
        return (
            f"ImplicitSLIM({users} users, {items} items, every={self.every}, "
            f"l2={self.l2}, alpha={self.alpha}, min_clicks={self.min_clicks})"
        )

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Checks that model and clicks have the same items."""
        require(self.model, HasItemEmbeddings, "ImplicitSLIM")
        items = self.model.num_items - self.model.padding_items
        if self.clicks.shape[1] != items:
            raise ValueError(
                f"The model has {items} items, and the clicks of ImplicitSLIM are "
                f"{self.clicks.shape} (users, items): pass those that it trains on."
            )

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Updates the embeddings, in epochs that are a multiple of `every`."""
        # Not at an epoch's end, as a callback that saves the training's state there may
        # come before this one.
        if epoch == 0 or epoch % self.every:
            return
        for variable, axis in self.model.item_embeddings:
            table = np.array(backend.to_host(variable), "float64")
            rows = table if axis == 0 else table.T
            items = self.clicks.shape[1]
            # On several devices, padding items follow.
            rows[:items] = self.updated(rows[:items])
            variable.assign(table)
        self.updates += 1

    def updated(self, table: np.ndarray) -> np.ndarray:
        """The updated embeddings (items, units), W^T in the formula."""
        heard = (self.item_clicks >= self.min_clicks)[:, None]
        a = np.where(heard, table, 0.0)
        scale = np.square(self.item_clicks + self.l2)[:, None]
        m = (self.l2 * a + self._gram(a)) / scale
        c = self.l2 * m + self._gram(m)
        inner = np.eye(table.shape[1]) + self.alpha * (c.T @ a)
        return self.alpha * (c @ np.linalg.solve(inner.T, a.T @ table))

    def _gram(self, table: np.ndarray) -> np.ndarray:
        """X^T X times a matrix (items, units)."""
        total = np.zeros_like(table)
        for start in range(0, self.clicks.shape[0], USERS_AT_ONCE):
            block = self.clicks[start : start + USERS_AT_ONCE]
            total += block.T @ (block @ table)
        return total


def _check_has_beta(callback: keras.callbacks.Callback) -> None:
    if not can(callback.model, HasBeta):
        raise TypeError(
            f"{type(callback).__name__} moves the beta of a MultVAE or of a model like "
            f"it. Received a model of type {type(callback.model).__name__}."
        )
