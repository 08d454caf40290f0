"""The folder of a study: what it is about, its journal, its best model.

    study.json      format, version, digest of the data, models, settings not searched
    linear.json     the settings of the linear path, once they are chosen
    journal.log     Optuna's journal: every trial
    models/00007/   the best model so far, a recommender's folder with history.csv
    workers/        a file for each process at work, touched every few seconds
    data/           the prepared folder of several processes, where there was none

A trial's model is written before the study is told of its value, and others go after
it is. So whatever is killed when, the best trial that the study knows has its model.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Self

from keras_multvae.data import Split
from keras_multvae.files import (
    DamagedFileError,
    existing_folder,
    read_format,
    replace_folder,
    sweep,
    write_manifest,
)
from keras_multvae.training.additions import LinearPath
from keras_multvae.training.checkpoint import fingerprint
from keras_multvae.training.recipe import Recipe
from keras_multvae.tuning.space import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FORMAT, VERSION = "keras_multvae.tuning", 1
STUDY, LINEAR, JOURNAL, MODELS, DATA = (
    "study.json",
    "linear.json",
    "journal.log",
    "models",
    "data",
)
NAME = "tuning"
# Seconds between signs of life, and of silence after which a process counts as dead.
BEAT, SILENCE = 5.0, 120.0


@dataclass(frozen=True)
class StudyFolder:
    """A study on disk.

    Args:
        path: The folder.
        space: What is searched.
        data: SHA-256 of what a training reads.
        seed: Int, of the study.
    """

    path: Path
    space: Space
    data: str
    seed: int

    @classmethod
    def begin(cls, path: Path, space: Space, split: Split, seed: int) -> Self:
        """Makes the folder.

        Raises:
            FileExistsError: It is there.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            what = "a study already" if (path / STUDY).is_file() else "something else"
            raise FileExistsError(
                f"{path} is where the study goes, and there is {what}: go on with it "
                "(resume=True, --resume), remove it, or choose another name."
            )
        made = cls(path, space, fingerprint(split), seed)
        # All of it or nothing: a kill leaves no folder that is no study.
        with replace_folder(path) as temporary:
            (temporary / MODELS).mkdir()
            (temporary / "workers").mkdir()
            write_manifest(
                temporary / STUDY,
                {
                    "format": FORMAT,
                    "version": VERSION,
                    "data": made.data,
                    "models": list(space.models),
                    "base": space.base.to_json(),
                    "seed": seed,
                },
                {},
            )
        return made

    @classmethod
    def open(cls, path: Path) -> Self:
        """A study that was begun.

        Raises:
            ValueError: There is none, or of models that are not known here.
            DamagedFileError: A foreign, damaged or newer file.
        """
        with contextlib.suppress(FileNotFoundError):
            existing_folder(path)
        if not (path / STUDY).is_file():
            raise ValueError(f"There is no study in {path}: nothing to resume.")
        values = read_format(path / STUDY, FORMAT, VERSION)
        try:
            space = Space(tuple(values["models"]), Recipe.from_json(values["base"]))
            return cls(path, space, values["data"], values["seed"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedFileError(
                f"{path / STUDY} is damaged ({error!r}): begin another study."
            ) from None

    def check(
        self, split: Split, models: Sequence[str] | None, base: Recipe | None
    ) -> None:
        """Raises `ValueError` where the study is about something else."""
        if fingerprint(split) != self.data:
            raise ValueError(
                f"The study in {self.path} began with other data: resume it with the "
                "prepared folder that it was started on."
            )
        before, now = list(self.space.models), list(models or self.space.models)
        if sorted(before) != sorted(now):
            raise ValueError(
                "A study resumes with the models that it began with. They were "
                f"{', '.join(before)}. Received: {', '.join(now)}."
            )
        if base is not None and base != self.space.base:
            raise ValueError(
                "A study resumes with the recipe that it began with. It was "
                f"{self.space.base}. Received: {base}."
            )

    def study(self, optuna: ModuleType, sampler: object = None) -> Study:
        """Optuna's study, with its first guesses if it is new."""
        backend = optuna.storages.journal.JournalFileBackend(str(self.path / JOURNAL))
        return optuna.create_study(
            study_name=NAME,
            storage=optuna.storages.JournalStorage(backend),
            sampler=sampler,
            direction="maximize",
            load_if_exists=True,
        )

    @property
    def linear(self) -> LinearPath | None:
        """The settings of the linear path, if they are chosen."""
        if not os.path.lexists(self.path / LINEAR):
            return None
        values = read_format(self.path / LINEAR, FORMAT, VERSION)
        try:
            return LinearPath.from_json(values["linear_path"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DamagedFileError(
                f"{self.path / LINEAR} is damaged ({error!r}): remove it, and the "
                "settings are chosen again."
            ) from None

    def keep_linear(self, settings: LinearPath) -> None:
        """Notes the settings of the linear path."""
        values = {"linear_path": settings.to_json()}
        head = {"format": FORMAT, "version": VERSION}
        write_manifest(self.path / LINEAR, {**head, **values}, {})

    def model(self, number: int) -> Path:
        """The folder of a trial's model."""
        return self.path / MODELS / f"{number:05}"

    def best(self, study: Study) -> FrozenTrial | None:
        """The best finished trial, or None; of equal ones the first."""
        # FrozenTrial.state is an enum of Optuna's, which has no part in this module.
        finished = [
            t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"
        ]
        return max(finished, key=lambda t: (t.value, -t.number), default=None)

    def drop_others(self, study: Study) -> None:
        """Removes the models of finished trials that are not the best."""
        best = self.best(study)
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished() and (best is None or trial != best):
                # Another process may be removing it, too.
                shutil.rmtree(self.model(trial.number), ignore_errors=True)

    def bury_the_dead(self, study: Study, optuna: ModuleType) -> int:
        """Marks trials whose process is gone as failed, and has them done again.

        Returns:
            How many there were.
        """
        running = [
            t for t in study.get_trials(deepcopy=False) if t.state.name == "RUNNING"
        ]
        dead = [t for t in running if self._is_dead(t.user_attrs.get("worker"))]
        for trial in dead:
            state = optuna.trial.TrialState.FAIL
            study.tell(trial.number, state=state, skip_if_finished=True)
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            study.enqueue_trial(params)
        sweep(self.path / MODELS)
        self.drop_others(study)
        return len(dead)

    def _is_dead(self, worker: str | None) -> bool:
        """Whether the process of a worker is gone."""
        if worker is None:  # between being asked for and being signed
            return False
        file = self.path / "workers" / worker
        host, process = worker.rsplit("-", 2)[:2]
        if host == socket.gethostname() and not _runs(int(process)):
            file.unlink(missing_ok=True)
            return True
        # Both times by the clock of the file system.
        now = self.path / "workers" / f".{uuid.uuid4().hex}"
        now.touch()
        try:
            silence = now.stat().st_mtime - file.stat().st_mtime
        except FileNotFoundError:
            return True
        finally:
            now.unlink()
        return silence > SILENCE


class Alive:
    """A context in which a file of the study says that this process is at work.

    Args:
        folder: The study.
        parent: Int, the process without which this one is not to go on, or None.
    """

    def __init__(self, folder: StudyFolder, parent: int | None = None) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.name = name
        self._file = folder.path / "workers" / name
        self._parent = parent
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._file.touch()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()
        self._file.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            self._file.touch()
            if self._parent is not None and os.getppid() != self._parent:
                # Killed: nobody waits for this process, nor ends it in time.
                os._exit(1)


def _runs(process: int) -> bool:
    """Whether a process is still running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def folder_of(out: Path) -> Path:
    """Where the study for a model's folder is."""
    return out.with_name(out.name + ".tuning")
