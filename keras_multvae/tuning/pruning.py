"""Which trainings are not worth going on with."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# Finished trials of the model before one is ended, and the share of a training that is
# always waited for: a beta that rises, or passes of two halves, may learn late.
TRIALS, WARM_UP = 3, 0.25


def is_hopeless(
    values: Sequence[float], epochs: int, others: Sequence[FrozenTrial]
) -> bool:
    """Whether a training is below the median of those before, at the same share.

    As Optuna's median pruner, but among trainings of one model, which learn at one
    pace, by the share of the training rather than by the epoch, and a training that
    ended early counts with its best where it would have gone on.

    Args:
        values: Validation NDCG@100 of each epoch so far.
        epochs: Int, of the whole training.
        others: Finished trials of this model, Optuna's, with the attribute `epochs`.

    Example:

    >>> from types import SimpleNamespace
    >>> done = {"intermediate_values": {1: 0.1, 2: 0.3, 3: 0.2, 4: 0.4}}
    >>> done["user_attrs"] = {"epochs": 4}
    >>> others = [SimpleNamespace(**done)] * 3
    >>> is_hopeless([0.05, 0.2], 4, others), is_hopeless([0.05, 0.35], 4, others)
    (True, False)
    """
    share = len(values) / epochs
    if len(others) < TRIALS or share < WARM_UP:
        return False
    return max(values) < median(_best_by(share, trial) for trial in others)


def _best_by(share: float, trial: FrozenTrial) -> float:
    """The best value of a trial up to a share of its training."""
    steps = trial.intermediate_values
    limit = max(share * trial.user_attrs["epochs"], 1)
    known = [value for step, value in steps.items() if step <= limit]
    return max(known, default=0.0)
