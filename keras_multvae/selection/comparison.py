"""What a comparison of models found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from keras_multvae.abilities import FitsClicks
from keras_multvae.baselines.base import settings_of
from keras_multvae.evaluation import (
    CHOSEN_BY,
    PairedDifference,
    RankingReport,
    paired_difference,
)
from keras_multvae.tables import ShowsTable, Table, ToFrames
from keras_multvae.training.recipe import Recipe
from keras_multvae.typing import Column, Frame, Json, Model

# What `compare` trains: a recipe, or what is fitted to clicks.
Candidate: TypeAlias = Recipe | FitsClicks


@dataclass(frozen=True, eq=False)
class Comparison(ShowsTable, ToFrames):
    """Models side by side on the same test users. Print it for a Markdown table.

    As a data frame it has a row for each model. Its columns are "model", for each
    metric the mean over users and "METRIC stderr", then for each "METRIC difference" to
    the reference and "METRIC p", then "seconds".

    Args:
        reports: The test figures of each model, by its name.
        seconds: Training time by name, of all candidates where there were several.
        chosen: By name, what was trained and taken.
        reference: The name of the model that the others are compared with.
        models: By name, the trained models.

    Example:

    >>> import numpy as np
    >>> from keras_multvae import EASE, Popularity, compare
    >>> from keras_multvae.data import Interactions, strong_generalization
    >>> liked = np.random.default_rng(0).random((80, 12)) < 0.5
    >>> clicks = Interactions.from_events(*(axis.tolist() for axis in liked.nonzero()))
    >>> found = compare(
    ...     strong_generalization(clicks, 10, 20),
    ...     {"popularity": Popularity(12), "EASE": [EASE(12, 10), EASE(12, 100)]},
    ... )
    >>> found.models["EASE"].weights.shape
    (12, 12)
    >>> found.to_pandas()["ndcg@100"].round(1).to_dict()
    {'popularity': 0.4, 'EASE': 0.6}
    """

    reports: dict[str, RankingReport]
    seconds: dict[str, float]
    chosen: dict[str, Candidate]
    reference: str
    models: dict[str, Model]

    def difference(self, name: str, metric: str = CHOSEN_BY) -> PairedDifference:
        """Model `name` minus the reference, user by user, with a paired t-test."""
        return paired_difference(
            self.reports[name], self.reports[self.reference], metric
        )

    def to_dict(self) -> Json:
        """All figures as JSON.

        Returns:
            {"reference": name, "models": {name: {...}}}. For each model, what
            `RankingReport.to_dict` gives, "seconds" of training, "chosen" (model and
            settings), and "differences" to the reference, {"mean", "stderr", "p"} by
            metric.
        """
        return {
            "reference": self.reference,
            "models": {
                name: {
                    **report.to_dict(),
                    "differences": {
                        metric: {"mean": each.mean, "stderr": each.stderr, "p": each.p}
                        for metric, each in self._differences(name).items()
                    },
                    "seconds": self.seconds[name],
                    "chosen": _plain(self.chosen[name]),
                }
                for name, report in self.reports.items()
            },
        }

    def to_pandas(self) -> Frame:
        """As of all tables, but with the models' names as the index."""
        return super().to_pandas().set_index("model")

    def _columns(self) -> dict[str, Column]:
        rows = []
        for name, report in self.reports.items():
            row: dict[str, float | None] = {}
            for metric in report.metrics:
                row[metric] = report.mean(metric)
                row[f"{metric} stderr"] = report.stderr(metric)
            differences = self._differences(name)
            for metric in report.values:
                each = differences.get(metric)
                row[f"{metric} difference"] = None if each is None else each.mean
                row[f"{metric} p"] = None if each is None else each.p
            rows.append({**row, "seconds": self.seconds[name]})
        # None becomes NaN.
        figures = {
            name: np.array([row[name] for row in rows], "float64") for name in rows[0]
        }
        return {"model": list(self.reports), **figures}

    def _differences(self, name: str) -> dict[str, PairedDifference]:
        """Differences to the reference by metric; {} for itself or a single user."""
        report = self.reports[name]
        if name == self.reference or report.users < 2:
            return {}
        return {metric: self.difference(name, metric) for metric in report.values}

    def __str__(self) -> str:
        return self._table().markdown()

    def __repr__(self) -> str:
        metric = self.reports[self.reference].metrics[-1]
        found = (
            f"{name} {each.mean(metric):.4f}" for name, each in self.reports.items()
        )
        return f"Comparison({metric} of {', '.join(found)})"

    def _table(self) -> Table:
        """A row for each model."""
        report = self.reports[self.reference]
        metrics = report.metrics
        last = metrics[-1]
        heading = ["model", *metrics, f"{last} - {self.reference}", "p", "training"]
        rows = []
        for name, report in self.reports.items():
            cells = [name]
            for metric in metrics:
                error = report.stderr(metric)
                spread = "" if error is None else f" ± {error:.4f}"
                cells.append(f"{report.mean(metric):.4f}{spread}")
            difference = self._differences(name).get(last)
            cells += ["", ""] if difference is None else difference.cells()
            rows.append([*cells, f"{self.seconds[name]:.1f} s"])
        return Table(heading, rows, f"Comparison on {report.users:,} test users")


def _plain(chosen: object) -> Json:
    """What was trained, as JSON: the model's name and its settings."""
    if isinstance(chosen, Recipe):
        return chosen.to_json()
    settings = settings_of(chosen)
    settings.pop("num_items", None)
    return {"model": type(chosen).__name__, "settings": settings}
