"""Several processes at one study: on this machine, or on the nodes of a Ray cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

import keras

from keras_multvae import registry
from keras_multvae.cluster.calls import calls_on_ray
from keras_multvae.data import load_prepared
from keras_multvae.tuning.folder import StudyFolder
from keras_multvae.tuning.worker import Allowance, Worker
from keras_multvae.typing import Json

# Environment variables that limit the threads of numerical libraries.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "NPROC",  # JAX
)
# Seconds between two looks at the study, and that a process gets to end in: both
# together are less than what `tune` keeps back for the end.
LOOK, GRACE = 1.0, 1.0


@dataclass(frozen=True)
class Task:
    """What a process has to know; plain values, as it goes over a command line.

    Args:
        folder: The study.
        prepared: The prepared folder.
        models: What `registry.handover` gave.
        index: Int, which process it is.
        seconds: See `Allowance`.
        end: See `Allowance`.
        trials: See `Allowance`.
        parent: Int, the process without which it is not to go on, or None.
    """

    folder: str
    prepared: str
    models: tuple[str, ...]
    index: int
    seconds: float
    end: float
    trials: int | None
    parent: int | None = None


def work(task: Json) -> None:
    """What each process does, with a `Task` as a dict."""
    known = Task(**task)
    for models in known.models:
        registry.take_over(models)
    prepared = load_prepared(known.prepared)
    folder = StudyFolder.open(Path(known.folder))
    allowance = Allowance(known.seconds, known.end, known.trials)
    worker = Worker(
        folder, prepared.split, allowance, index=known.index, titles=prepared.titles
    )
    worker.run(known.parent)


def tasks(
    folder: StudyFolder, prepared: Path, allowance: Allowance, processes: int
) -> list[Task]:
    """The tasks of several processes."""
    classes = (registry.find(name).model for name in folder.space.models)
    # These processes cannot import models that this program defines itself.
    models = tuple(registry.handover(cls, program=False) for cls in classes)
    return [
        Task(
            # Absolute, as the processes may have other working directories.
            str(folder.path.resolve()),
            str(prepared.resolve()),
            models,
            index,
            allowance.seconds,
            allowance.end,
            allowance.trials,
        )
        for index in range(processes)
    ]


def run_here(given: Sequence[Task], look: Callable[[], None]) -> None:
    """Runs tasks in processes of this machine, which share its processors.

    Args:
        given: The tasks.
        look: Called now and then while they are at work.

    Raises:
        RuntimeError: All of them failed, with the reason of one.
    """
    threads = str(max((os.cpu_count() or 1) // len(given), 1))
    environment = {
        **os.environ,
        **{name: threads for name in THREADS if name not in os.environ},
        "KERAS_BACKEND": keras.backend.backend(),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with ExitStack() as stack:
        started = [stack.enter_context(_started(task, environment)) for task in given]
        while any(each.poll() is None for each, _ in started):
            time.sleep(LOOK)
            look()
            if time.time() > given[0].end + GRACE:
                return  # They are ended; the best finished trial counts.
        if all(each.returncode != 0 for each, _ in started):
            raise RuntimeError(
                f"All {len(started)} processes of the study failed, the first one "
                f"with: {_last_line(started[0][1])}"
            )


@contextmanager
def _started(
    task: Task, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A process at work on a task, which ends with the context, and what it says."""
    text = json.dumps(asdict(replace(task, parent=os.getpid())))
    command = [sys.executable, "-m", __name__, text]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL
        )
        try:
            yield process, said
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no word")


def run_on_ray(
    given: Sequence[Task], look: Callable[[], None], address: str | None
) -> None:
    """Runs tasks on the nodes of a Ray cluster; see `run_here`."""
    calls_on_ray(work, [asdict(task) for task in given], look, address)


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
