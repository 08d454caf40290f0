"""What an evaluation found."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from keras_multvae.tables import ShowsTable, Table, ToFrames
from keras_multvae.typing import Column, Json


@dataclass(frozen=True, eq=False)
class RankingReport(ShowsTable, ToFrames):
    """Ranking metrics with what is needed to compare them.

    As a data frame it has a row for each metric: metric, mean and stderr.

    Args:
        values: Per-user float64 arrays (users,) by metric name, in the split's order;
            NaN for users whom a metric says nothing of, who are left out of its mean.
        coverage: Coverage and Gini coefficient by metric name: one number for all
            users, not one a user.
        user_ids: (users,) raw ids of the users that have a target.
        left_out: Int, users without a target.
    """

    values: dict[str, np.ndarray]
    coverage: dict[str, float]
    user_ids: np.ndarray
    left_out: int

    @property
    def users(self) -> int:
        """Users that the means are over."""
        return len(self.user_ids)

    def mean(self, metric: str) -> float:
        """The mean of a metric over users; its value for coverage and Gini."""
        if metric in self.coverage:
            return self.coverage[metric]
        values = _told(self.of_metric(metric))
        return float(values.mean()) if len(values) else math.nan

    def stderr(self, metric: str) -> float | None:
        """The standard error of the mean; None for coverage or a single user."""
        if metric in self.coverage or self.users < 2:
            return None
        values = _told(self.of_metric(metric))
        return float(stats.sem(values)) if len(values) > 1 else None

    def of_metric(self, metric: str) -> np.ndarray:
        """The values of a metric, one a user.

        Raises:
            KeyError: It was not measured.
        """
        if metric not in self.values:
            raise KeyError(f"{metric!r} was not measured, only {self.metrics}.")
        return self.values[metric]

    @property
    def metrics(self) -> list[str]:
        """Names of what was measured."""
        return [*self.values, *self.coverage]

    def to_dict(self) -> Json:
        """{"users": n, "recall@20": {"mean": m, "stderr": s}, ...}."""
        found: Json = {"users": self.users}
        for name in self.metrics:
            mean = self.mean(name)
            # JSON has no NaN.
            told = None if math.isnan(mean) else mean
            found[name] = {"mean": told, "stderr": self.stderr(name)}
        return found

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict())

    def _columns(self) -> dict[str, Column]:
        errors = [self.stderr(name) for name in self.metrics]
        return {
            "metric": self.metrics,
            "mean": [self.mean(name) for name in self.metrics],
            "stderr": [math.nan if each is None else each for each in errors],
        }

    def to_markdown(self) -> str:
        """A Markdown table: a line for each metric, its mean and standard error."""
        return self._table().markdown()

    def _table(self) -> Table:
        rows = []
        for name in self.metrics:
            error = self.stderr(name)
            spread = "" if error is None else f"{error:.4f}"
            rows.append([name, f"{self.mean(name):.4f}", spread])
        return Table(
            ["metric", "mean", "standard error"], rows, f"{self.users:,} users"
        )

    def __repr__(self) -> str:
        found = ", ".join(f"{name} {self.mean(name):.4f}" for name in self.metrics)
        return f"RankingReport({self.users} users: {found})"

    def __str__(self) -> str:
        width = max(len(name) for name in self.metrics)
        lines = [f"{self.users} users"]
        for name in self.metrics:
            error = self.stderr(name)
            spread = "" if error is None else f" ± {error:.4f}"
            lines.append(f"{name:<{width}}  {self.mean(name):.4f}{spread}")
        return "\n".join(lines)


def _told(values: np.ndarray) -> np.ndarray:
    """The values of users whom a metric says something of."""
    return values[~np.isnan(values)]
