"""What a study found: the model, the trials as a table, which settings mattered."""

from __future__ import annotations

import csv
import io
import shutil
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from keras_multvae.data import Interactions
from keras_multvae.features import ItemFeatures
from keras_multvae.files import replace_folder
from keras_multvae.plots import plot_importances, save
from keras_multvae.recommender import Recommender
from keras_multvae.recommender.storage import check_out, seal
from keras_multvae.tables import ShowsTable, Table, ToFrames
from keras_multvae.training.recipe import Recipe
from keras_multvae.training.record import read_recipe
from keras_multvae.tuning.folder import StudyFolder
from keras_multvae.typing import Json, Model

if TYPE_CHECKING:
    from optuna import Study

# Finished trials from which importances are told.
ENOUGH = 4
SHOWN = 10


@dataclass(frozen=True, eq=False)
class Tuning(ShowsTable, ToFrames):
    """What `tune` found. Print it for a Markdown table of the best trials.

    As a data frame it has a row for each trial.

    Args:
        model: The best model.
        recipe: The `Recipe` that trains it again.
        value: Float, its NDCG@100 on the validation users.
        trials: One dict a trial: `trial`, `state` ("complete", "pruned", "failed",
            "running" or "waiting"), `value`, `without_path` (the network alone),
            `best_epoch`, `epochs`, `stopped` (by the time), `seconds`, `failed` (why),
            the path's `density` and `weight`, and the settings.
        importances: How much each setting mattered, by name, most important first, in
            sum 1; empty below four finished trials.
    """

    model: Model
    recipe: Recipe
    value: float
    trials: list[Json]
    importances: dict[str, float]

    def _columns(self) -> Json:
        names = _names(self.trials)
        return {name: [each.get(name) for each in self.trials] for name in names}

    def __str__(self) -> str:
        return self._table().markdown()

    def __repr__(self) -> str:
        states = Counter(each["state"] for each in self.trials)
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        name = type(self.model).__name__
        return f"Tuning({name}, ndcg@100={self.value:.4f}, trials: {told})"

    def _table(self) -> Table:
        """The best trials."""
        done = [each for each in self.trials if each["state"] == "complete"]
        done.sort(key=lambda each: -each["value"])
        settings = [name for name in _names(done) if name not in _COLUMNS]
        heading = ["trial", "ndcg@100", "network alone", *settings]
        rows = []
        for each in done[:SHOWN]:
            figures = (f"{each[name]:.4f}" for name in ("value", "without_path"))
            cells = (_cell(each.get(name)) for name in settings)
            rows.append([str(each["trial"]), *figures, *cells])
        return Table(heading, rows, f"The best of {len(done):,} finished trials")


_COLUMNS = (
    "trial",
    "state",
    "value",
    "without_path",
    "best_epoch",
    "epochs",
    "stopped",
    "seconds",
    "failed",
)
_STATES = {"FAIL": "failed"}


def rows_of(study: Study) -> list[Json]:
    """The trials of a study, as `Tuning.trials` has them."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        notes = trial.user_attrs
        row = {name: notes.get(name) for name in _COLUMNS}
        path = notes.get("recipe", {}).get("training", {}).get("linear_path") or {}
        row |= {
            "trial": trial.number,
            "state": _STATES.get(trial.state.name, trial.state.name.lower()),
            "value": trial.value,
            "stopped": bool(notes.get("stopped")),
            **trial.params,
            "density": path.get("density"),
            "weight": path.get("weight"),
        }
        rows.append(row)
    return rows


def importances_of(study: Study, optuna: ModuleType) -> dict[str, float]:
    """How much each setting mattered, by PED-ANOVA, which needs no scikit-learn."""
    trials = study.get_trials(deepcopy=False)
    if sum(trial.state.name == "COMPLETE" for trial in trials) < ENOUGH:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        # That few trials had a setting; the table of trials shows how many.
        warnings.filterwarnings("ignore", "Some regimes for parameter")
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}


def write(
    folder: StudyFolder,
    study: object,
    optuna: ModuleType,
    out: Path,
    histories: Interactions,
    features: ItemFeatures | None = None,
) -> Tuning:
    """Puts the best model and the tables in their place, all of it or nothing.

    Args:
        folder: The study.
        study: Optuna's.
        optuna: The module.
        out: Where the recommender goes.
        histories: What the recommender is to know of each user.
        features: What it is to know of each item, if anything.

    Raises:
        ValueError: No trial is finished.
    """
    best = folder.best(study)
    if best is None:
        raise ValueError(
            f"No trial of the study in {folder.path} is finished, so there is no model "
            "yet. Give it more minutes, and go on (resume=True, --resume)."
        )
    trials, importances = rows_of(study), importances_of(study, optuna)
    check_out(out)
    source = folder.model(best.number)
    recommender = Recommender.load(source)
    recommender.histories, recommender.features = histories, features
    with replace_folder(out) as temporary:
        recommender.save(temporary)
        shutil.copy(source / "history.csv", temporary)
        (temporary / "trials.csv").write_text(_csv(trials), encoding="utf-8")
        if importances:
            save(plot_importances(importances), temporary / "importance.png")
        seal(temporary)
    return Tuning(recommender.model, read_recipe(out), best.value, trials, importances)


def _csv(rows: list[Json]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=_names(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _names(rows: list[Json]) -> list[str]:
    """The keys of all rows, in the order in which they appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value) or "none"
