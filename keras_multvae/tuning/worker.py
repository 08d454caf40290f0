"""One process at work on a study: asks for trials and trains them, as time allows."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import TYPE_CHECKING

import keras

from keras_multvae.data import Split
from keras_multvae.recommender import Recommender
from keras_multvae.training.additions import LinearPath
from keras_multvae.training.history import write_history
from keras_multvae.training.recipe import CHOSEN_BY, Recipe
from keras_multvae.training.record import TrainingRecord, versions
from keras_multvae.training.trainer import train
from keras_multvae.tuning.folder import Alive, StudyFolder
from keras_multvae.tuning.linear import Paths, chosen
from keras_multvae.tuning.pruning import is_hopeless
from keras_multvae.tuning.quiet import optuna as quiet_optuna
from keras_multvae.typing import Logs, Model, Titles

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, TrialState

# Parts of all the time: for the settings of the linear path, for one training, and for
# what comes after a training before it is known how long that takes.
LINEAR, TRAINING, AFTER = 0.1, 1 / 3, 0.05
# A training whose first epochs show that less than this part of it fits is begun anew
# with what fits, as the rate and beta go by the number of epochs.
FITS = 0.9
# Less than this part of the shortest training so far is not worth beginning.
LEAST = 0.2
# Failures in a row that say that it is not the settings.
FAILURES = 3
# Random trials, with the guesses, before TPE has something to go by.
STARTUP = 8
# What every process goes by; tests have their own.
clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Allowance:
    """What may be spent on a study.

    Args:
        seconds: Float, all of it.
        end: Float, when it is over, by the clock of this module.
        trials: Int, finished or pruned trials after which it is enough, or None.
    """

    seconds: float
    end: float
    trials: int | None = None

    def left(self) -> float:
        """Seconds until the end."""
        return self.end - clock()


def linear_of(folder: StudyFolder, split: Split, allowance: Allowance) -> LinearPath:
    """The settings of a study's linear path, chosen where they are not yet.

    Whoever starts several processes asks first, so that all go by the same.
    """
    settings = folder.linear
    if settings is None:
        settings = chosen(split, LINEAR * allowance.seconds)
        folder.keep_linear(settings)
    return settings


class Worker:
    """Trains trials of a study until the time is over.

    Args:
        folder: The study.
        split: Its data.
        allowance: What may be spent.
        index: Int, which of several processes this is.
        titles: Title by raw item id, for the recommender.
        shown: Called with Optuna's study after every epoch and every trial.
    """

    def __init__(
        self,
        folder: StudyFolder,
        split: Split,
        allowance: Allowance,
        *,
        index: int = 0,
        titles: Titles | None = None,
        shown: Callable[[Study], None] = lambda study: None,
    ) -> None:
        self.folder, self.split, self.allowance = folder, split, allowance
        self.titles, self.shown, self._index = titles, shown, index
        self._after = AFTER * allowance.seconds

    def run(self, parent: int | None = None) -> None:
        """Trains trials until no further one fits into the time.

        Args:
            parent: Int, the process without which this one is not to go on.

        Raises:
            RuntimeError: Several trials in a row failed, with the reason of the last.
        """
        with quiet_optuna() as optuna, Alive(self.folder, parent) as alive:
            paths = Paths(
                self.split, linear_of(self.folder, self.split, self.allowance)
            )
            study = self.folder.study(optuna, self._sampler(optuna))
            failures = 0
            while self._has_time(study):
                trial = study.ask()
                trial.set_user_attr("worker", alive.name)
                reason = self._do(study, trial, paths, optuna.trial.TrialState)
                self.folder.drop_others(study)
                self.shown(study)
                failures = 0 if reason is None else failures + 1
                if failures == FAILURES:
                    raise RuntimeError(
                        f"{FAILURES} trials in a row failed, the last one because: "
                        f"{reason} The study stays in {self.folder.path}."
                    )

    def _sampler(self, optuna: ModuleType) -> BaseSampler:
        """Optuna's TPE sampler, with a new seed in each process and each session."""
        before = len(self.folder.study(optuna).get_trials(deepcopy=False))
        seed = (self.folder.seed + 1000 * self._index + before) % 2**32
        # Settings of several models are groups; those at work in other processes count
        # as bad ones, so that not all try the same.
        return optuna.samplers.TPESampler(
            n_startup_trials=STARTUP,
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=seed,
        )

    def _has_time(self, study: Study) -> bool:
        """Whether another trial is to begin."""
        trials = study.get_trials(deepcopy=False)
        most = self.allowance.trials
        counted = [t for t in trials if t.state.name in ("COMPLETE", "PRUNED")]
        running = [t for t in trials if t.state.name == "RUNNING"]
        if most is not None and len(counted) + len(running) >= most:
            return False
        left = self.allowance.left() - self._after
        # A part of the shortest training so far, those that the time ended included.
        known = [t.user_attrs["seconds"] for t in counted if "seconds" in t.user_attrs]
        least = min(known, default=0.0)
        return left > LEAST * least and (left > 0 or not counted)

    def _do(
        self, study: Study, trial: Trial, paths: Paths, states: type[TrialState]
    ) -> str | None:
        """Does one trial and tells the study; returns why it failed, if it did."""
        try:
            value = self._value(study, trial, paths)
        except Exception as error:
            # Settings that do not go together, a loss that diverges, memory: whatever
            # it is, other settings may be fine.
            reason = f"{type(error).__name__}: {error}"
            trial.set_user_attr("failed", reason)
            study.tell(trial, state=states.FAIL)
            return reason
        except BaseException:
            study.tell(trial, state=states.FAIL)
            # What was begun is done again when the study goes on.
            study.enqueue_trial(trial.params)
            raise
        if value is None:
            study.tell(trial, state=states.PRUNED)
        else:
            study.tell(trial, value)
        return None

    def _value(self, study: Study, trial: Trial, paths: Paths) -> float | None:
        """The validation NDCG@100 of a trial, or None if it was ended before."""
        recipe = self.folder.space.suggest(trial)
        recipe = recipe.resolved(self.split.train.num_users)
        others = [
            t
            for t in study.get_trials(deepcopy=False)
            if t.params.get("model") == recipe.model_name
            and t.state.name in ("COMPLETE", "PRUNED")
        ]
        known = [t.user_attrs for t in others if "epoch_seconds" in t.user_attrs]
        if known:
            seconds = median(each["epoch_seconds"] for each in known)
            recipe = self._in_time(recipe, seconds)
        watch = _Watch(self, study, trial, recipe, others)
        network, history = self._trained(watch)
        if watch.fitting is not None:
            watch = _Watch(self, study, trial, watch.fitting, others, last=True)
            network, history = self._trained(watch)
        if watch.hopeless:
            return None
        start = clock()
        model, path, value, alone = paths.beside(network)
        recipe = replace(watch.recipe, linear_path=path)
        trial.set_user_attr("recipe", recipe.to_json())
        trial.set_user_attr("without_path", alone)
        trial.set_user_attr("best_epoch", best_epoch(history))
        best = self.folder.best(study)
        if best is None or value > best.value:
            self._save(trial.number, model, recipe, history)
        # The next one may take longer, as its model may be larger.
        self._after = max(1.5 * (clock() - start), 0.5 * self._after)
        return value

    def _trained(self, watch: _Watch) -> tuple[Model, list[dict[str, float]]]:
        """The network of a trial, and a row for each epoch."""
        with tempfile.TemporaryDirectory() as state:
            place = Path(state) / "state"
            return train(
                self.split, watch.recipe, place, save_every=math.inf, callbacks=[watch]
            )

    def _in_time(self, recipe: Recipe, epoch_seconds: float) -> Recipe:
        """The recipe, with fewer epochs where it would take too long."""
        budget = min(
            TRAINING * self.allowance.seconds, self.allowance.left() - self._after
        )
        assert recipe.epochs is not None
        fitting = int(budget / max(epoch_seconds, 1e-9))
        return replace(recipe, epochs=min(recipe.epochs, max(fitting, 1)))

    def fitting(self, recipe: Recipe, epoch_seconds: float) -> Recipe | None:
        """The recipe with far fewer epochs, if the given ones do not fit by far."""
        found = self._in_time(recipe, epoch_seconds)
        assert recipe.epochs is not None and found.epochs is not None
        return found if found.epochs < FITS * recipe.epochs else None

    def time_is_over(self, begun: float, epoch_seconds: float) -> bool:
        """Whether a training has to end, as another epoch would take too long."""
        end = min(
            begun + TRAINING * self.allowance.seconds, self.allowance.end - self._after
        )
        return clock() + 1.1 * epoch_seconds > end

    def _save(
        self, number: int, model: Model, recipe: Recipe, history: list[dict[str, float]]
    ) -> None:
        """Writes the recommender of a trial; see `folder`."""
        found = versions(keras.backend.backend())
        recommender = Recommender(
            model,
            self.split.train.items,
            titles=self.titles,
            training=TrainingRecord(recipe, self.folder.data, found),
        )
        recommender.save(self.folder.model(number))
        write_history(self.folder.model(number) / "history.csv", history)


class _Watch(keras.callbacks.Callback):
    """Tells the study of every epoch, and ends a training that should not go on.

    Args:
        worker: Whose time it is.
        study: Optuna's study.
        trial: Optuna's trial.
        recipe: What it trains.
        others: Finished trials of the same model.
        last: Bool, whether it may not be begun anew with fewer epochs.
    """

    def __init__(
        self,
        worker: Worker,
        study: Study,
        trial: Trial,
        recipe: Recipe,
        others: list[FrozenTrial],
        last: bool = False,
    ) -> None:
        super().__init__()
        self._worker, self._study, self._trial = worker, study, trial
        self._others = [t for t in others if t.state.name == "COMPLETE"]
        assert recipe.epochs is not None
        self.recipe = worker.folder.space.patient(recipe)
        self._epochs, self._last = recipe.epochs, last
        self._reached: list[float] = []
        self._told = 0
        self.hopeless = False
        # The recipe with which to begin anew.
        self.fitting: Recipe | None = None
        trial.set_user_attr("recipe", self.recipe.to_json())
        trial.set_user_attr("epochs", recipe.epochs)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Starts the clock."""
        self._begun = self._before = clock()
        # The first epoch compiles, so it is left out once there are others.
        self._seconds: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Notes the value and the time."""
        now = clock()
        self._seconds.append(now - self._before)
        self._before = now
        seconds = max(self._seconds[-2:])
        self._reached.append(float((logs or {})[CHOSEN_BY]))
        if not self._last and epoch == 0:
            return  # This one compiles; the second one tells how long they take.
        if not self._last and epoch == 1:
            self.fitting = self._worker.fitting(self.recipe, self._seconds[-1])
            if self.fitting is not None:
                self.model.stop_training = True
                return
        self._tell()
        self._worker.shown(self._study)
        if is_hopeless(self._reached, self._epochs, self._others):
            self.hopeless = self.model.stop_training = True
        elif self._worker.time_is_over(self._begun, seconds):
            if epoch + 1 < self._epochs:
                self._trial.set_user_attr("stopped", True)
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Notes what an epoch took."""
        if self.fitting is None:
            self._tell()
        seconds = median(self._seconds[1:] or self._seconds)
        self._trial.set_user_attr("epoch_seconds", seconds)
        self._trial.set_user_attr("seconds", clock() - self._begun)

    def _tell(self) -> None:
        """Reports the epochs that have not been reported."""
        for step in range(self._told, len(self._reached)):
            self._trial.report(self._reached[step], step + 1)
        self._told = len(self._reached)


def best_epoch(history: list[dict[str, float]]) -> int:
    """The number of the epoch that `train` keeps."""
    return int(max(history, key=lambda row: row[CHOSEN_BY])["epoch"])
