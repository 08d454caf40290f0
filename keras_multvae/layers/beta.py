"""The KL weight, computed inside the step from a count of batches."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_multvae.schedules import BetaSchedule, ConstantBeta
from keras_multvae.typing import Json, Tensor, Variable


@keras.saving.register_keras_serializable(package="keras_multvae")
class Beta(keras.layers.Layer):
    """Multiplies each user's KL by beta, a schedule's value at the current step.

    Schedule and step count are weights. So a compiled step computes its own beta at any
    `steps_per_execution`, a new schedule needs no compilation, and both are saved with
    the model.

    Args:
        initial: Float >= 0, the constant beta until a schedule is set.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: KL of each user, (users,).
        accumulation: Int, batches for each optimiser step.

    Returns:
        beta * KL of each user, (users,).

    Example:

    >>> from keras_multvae import LinearBeta
    >>> beta = Beta()
    >>> beta.set_schedule(LinearBeta(cap=0.2, total_steps=100))
    >>> beta.count_batch()
    >>> round(float(beta.current()), 6)
    0.01
    """

    def __init__(self, initial: float = 0.2, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.initial = float(initial)
        self.schedule = self._state("schedule", (3,), "float32")
        self.batches_seen = self._state("batches_seen", (), "int32")
        self.set_schedule(ConstantBeta(self.initial))
        self.built = True

    def _state(self, name: str, shape: tuple[int, ...], dtype: str) -> Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer="zeros",
            trainable=False,
            autocast=False,
            # All replicas count the same batches.
            aggregation="only_first_replica",
        )

    def call(self, inputs: Tensor, accumulation: int = 1) -> Tensor:
        """See the class."""
        return ops.cast(self.current(accumulation), inputs.dtype) * inputs

    def current(self, accumulation: int = 1) -> Tensor:
        """The KL weight of the next training step, a float32 scalar tensor."""
        cap, ramp_steps, period = ops.unstack(ops.convert_to_tensor(self.schedule), 3)
        step = ops.convert_to_tensor(self.batches_seen) // accumulation
        step = ops.cast(step, "float32")
        # Both branches of a `where` are computed: neither may divide by 0 or infinity.
        cyclical = ops.isfinite(period)
        cycle = ops.where(cyclical, period, ops.ones_like(period))
        step = ops.where(cyclical, step % cycle, step)
        constant = ramp_steps == 0
        ramp = step / ops.where(constant, ops.ones_like(ramp_steps), ramp_steps)
        return ops.where(constant, cap, ops.minimum(cap, ramp))

    def set_schedule(self, schedule: BetaSchedule) -> None:
        """Makes beta follow `schedule` from the next step on; keeps the step count."""
        self.schedule.assign(np.asarray(schedule.parameters(), "float32"))

    def count_batch(self) -> None:
        """Counts one training batch."""
        self.batches_seen.assign_add(1)

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        return {**super().get_config(), "initial": self.initial}
