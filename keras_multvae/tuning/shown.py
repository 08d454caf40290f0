"""Progress of a study: a line on standard error, or a line for each trial in a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.status import Status

from keras_multvae.progress import console

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FINISHED = ("COMPLETE", "PRUNED", "FAIL")


class Shown:
    """A context that shows a study; call it whenever something may have changed.

    Args:
        seconds_left: Says how much time there is.
        study: Optuna's study; what is finished in it was told before.
        wanted: Bool, whether anything is to be shown.
    """

    def __init__(
        self, seconds_left: Callable[[], float], study: Study, wanted: bool
    ) -> None:
        self._left, self._wanted = seconds_left, wanted
        trials = study.get_trials(deepcopy=False)
        self._told = {t.number for t in trials if t.state.name in FINISHED}
        self._status: Status | None = None

    def __enter__(self) -> Shown:
        if self._wanted and console.is_terminal:
            self._status = console.status("choosing the linear path").__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._status is not None:
            self._status.__exit__(*error)

    def __call__(self, study: Study) -> None:
        """Shows what there is."""
        if not self._wanted:
            return
        trials = study.get_trials(deepcopy=False)
        finished = [t for t in trials if t.state.name in FINISHED]
        if self._status is not None:
            self._status.update(self._summary(trials))
            return
        for trial in finished:
            if trial.number not in self._told:
                self._told.add(trial.number)
                told = [t for t in trials if t.number in self._told]
                console.print(f"{_words(trial)}; {self._summary(told)}", markup=False)

    def _summary(self, trials: list[FrozenTrial]) -> str:
        states = [t.state.name for t in trials]
        done = [t for t in trials if t.state.name == "COMPLETE"]
        words = f"{len(done)} done, {states.count('PRUNED')} pruned"
        if states.count("FAIL"):
            words += f", {states.count('FAIL')} failed"
        if done:
            best = max(done, key=lambda t: t.value)
            model = best.params["model"]
            words += f", best {best.value:.4f} ({model}, trial {best.number})"
        return f"{words}, {max(self._left(), 0) / 60:.1f} minutes left"


def _words(trial: FrozenTrial) -> str:
    """What became of a trial."""
    name = f"trial {trial.number}, {trial.params.get('model', 'not begun')}"
    notes = trial.user_attrs
    if trial.state.name == "FAIL":
        return f"{name}: failed ({notes.get('failed', 'interrupted')})"
    if trial.state.name == "PRUNED":
        return f"{name}: pruned after {len(trial.intermediate_values)} epochs"
    return (
        f"{name}: {trial.value:.4f}, network alone {notes['without_path']:.4f}, epoch "
        f"{notes['best_epoch']} of {len(trial.intermediate_values)}"
    )
