"""Two models on the same users."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from keras_multvae.evaluation.report import RankingReport


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of two models over the same users, and its significance.

    Args:
        mean: Mean of first minus second.
        stderr: Its standard error.
        t: Student's t.
        p: Two-sided probability of a difference this large by chance alone.
    """

    mean: float
    stderr: float
    t: float
    p: float

    def cells(self) -> tuple[str, str]:
        """Difference with its standard error, and p, for a table."""
        p = "< 0.001" if self.p < 0.001 else f"{self.p:.3f}"
        return f"{self.mean:+.4f} ± {self.stderr:.4f}", p


def paired_difference(
    first: RankingReport, second: RankingReport, metric: str
) -> PairedDifference:
    """Compares two reports on the same users by a paired t-test.

    Args:
        first: A report.
        second: Another one, of the same split.
        metric: A per-user metric of both.

    Returns:
        `PairedDifference`; p is 1 where the two never differ.

    Raises:
        ValueError: Other users, or fewer than two.
        KeyError: The metric was not measured in both.
    """
    if not np.array_equal(first.user_ids, second.user_ids) or first.users < 2:
        raise ValueError(
            "A paired comparison needs two reports on the same users, at least two. "
            f"Received: {first.users} and {second.users} users."
        )
    return paired_test(first.of_metric(metric), second.of_metric(metric))


def paired_test(a: np.ndarray, b: np.ndarray) -> PairedDifference:
    """The paired t-test of two arrays (users,) of the same users; see above."""
    mean, stderr = float((a - b).mean()), float(stats.sem(a - b))
    if stderr == 0:
        # Every user differs by the same amount: by nothing, or for certain.
        return PairedDifference(
            mean, 0.0, *((0.0, 1.0) if mean == 0 else (math.inf, 0.0))
        )
    test = stats.ttest_rel(a, b)
    return PairedDifference(mean, stderr, float(test.statistic), float(test.pvalue))
