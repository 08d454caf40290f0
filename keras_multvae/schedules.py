"""Schedules by the optimiser step: the KL weight, and the turns of two halves.

KL weights are those of Liang et al. 2018, section 2.2.2, and variants. Every one is
`min(cap, (t mod period) / ramp_steps)`, so a model can hold it as three numbers in a
variable, and compute beta inside its compiled step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_multvae import checks
from keras_multvae.typing import Tensor


class BetaSchedule:
    """A KL weight that depends on the optimiser step alone.

    Call it with a step (the first is 0) for the exact value.
    """

    cap: float
    ramp_steps: float
    period: float = math.inf

    def __call__(self, step: int) -> float:
        """Returns beta at an optimiser step, a float in [0, cap]."""
        phase = step if math.isinf(self.period) else step % self.period
        return min(self.cap, phase / self.ramp_steps if self.ramp_steps else math.inf)

    def parameters(self) -> tuple[float, float, float]:
        """Returns (cap, ramp_steps, period), which the model's variable holds."""
        return self.cap, self.ramp_steps, self.period

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BetaSchedule) and self.parameters() == other.parameters()
        )

    def __hash__(self) -> int:
        return hash(self.parameters())

    def __repr__(self) -> str:
        cap, ramp, period = self.parameters()
        return f"{type(self).__name__}(cap={cap}, ramp_steps={ramp}, period={period})"


class ConstantBeta(BetaSchedule):
    """The same KL weight at every step.

    Args:
        cap: Float >= 0, the weight. 1 gives the evidence lower bound.

    Example:

    >>> ConstantBeta(0.2)(0)
    0.2
    """

    def __init__(self, cap: float) -> None:
        self.cap = checks.number("cap", cap)
        self.ramp_steps = 0.0


class LinearBeta(BetaSchedule):
    """KL annealing as in the paper: `beta_t = min(cap, t / total_steps)`.

    Args:
        cap: Float >= 0, where the weight stops rising.
        total_steps: Optimiser steps in which it would reach 1 (not `cap`). 0 means
            `cap` from the start.

    Example:

    >>> beta = LinearBeta(cap=0.2, total_steps=200_000)
    >>> beta(0), beta(20_000), beta(100_000)
    (0.0, 0.1, 0.2)

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.2.2
    """

    def __init__(self, cap: float = 0.2, total_steps: float = 200_000) -> None:
        self.cap = checks.number("cap", cap)
        self.ramp_steps = checks.number("total_steps", total_steps)


class CyclicalBeta(BetaSchedule):
    """Cyclical annealing: each cycle rises from 0 to `cap`, then holds it.

    Args:
        cap: Float >= 0, the highest weight.
        cycle_steps: Optimiser steps of one cycle, > 0.
        ramp: Share of a cycle in which the weight rises, in (0, 1].

    Example:

    >>> beta = CyclicalBeta(cap=0.2, cycle_steps=100, ramp=0.5)
    >>> beta(25), beta(50), beta(99), beta(100)
    (0.1, 0.2, 0.2, 0.0)

    References:
        - [Fu et al., 2019](https://arxiv.org/abs/1903.10145)
    """

    def __init__(
        self, cap: float = 0.2, cycle_steps: float = 10_000, ramp: float = 0.5
    ) -> None:
        self.cap = checks.number("cap", cap)
        self.period = checks.number("cycle_steps", cycle_steps, above=0)
        ramp = checks.share("ramp", ramp, "(0, 1]")
        # The slope that reaches `cap` at the end of the ramp.
        self.ramp_steps = ramp * self.period / self.cap if self.cap else 0.0


class Alternation:
    """Two halves of a network that train in turns, for some passes each.

    `first` passes train the first half, then `second` passes the other one, and so on.
    The state is three ints, which a compiled step can hold in a variable: batches of
    this pass so far, passes so far, and batches in a pass. The methods take ints or
    tensors alike.

    Args:
        first: Int >= 1, passes that train the first half.
        second: Int >= 1, passes that train the second half.

    Example:

    >>> turns = Alternation(3, 1)
    >>> state = turns.begin(passes=2, batches=10)
    >>> turns.is_first(state), turns.is_handover(state)
    (True, False)
    >>> for _ in range(10):
    ...     state = turns.after_batch(state)
    >>> turns.is_first(state), turns.is_handover(state)
    (False, True)

    References:
        - [Shenbin et al., 2020](https://arxiv.org/abs/1912.11160)
    """

    def __init__(self, first: int, second: int) -> None:
        self.first = checks.integer("first", first)
        self.second = checks.integer("second", second)

    def __repr__(self) -> str:
        return f"Alternation(first={self.first}, second={self.second})"

    def begin(self, passes: int, batches: int) -> tuple[int, int, int]:
        """The state at the beginning of a pass."""
        return 0, passes, batches

    def is_first(self, state: Sequence[Tensor]) -> Tensor:
        """Whether the next batch trains the first half."""
        return state[1] % (self.first + self.second) < self.first

    def is_handover(self, state: Sequence[Tensor]) -> Tensor:
        """Whether the next batch is the first one of the second half's turn."""
        turn = state[1] % (self.first + self.second)
        return (turn == self.first) & (state[0] == 0)

    def after_batch(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The state after the next batch."""
        batch, passes, batches = state
        return (batch + 1) % batches, passes + (batch + 1) // batches, batches
