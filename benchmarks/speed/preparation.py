"""Seconds and memory from 20 million ratings in Parquet to a prepared folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import System, Worker, environment, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number, spread

SECONDS, PEAK = "seconds", "peak RSS, GiB"
FUNCTIONS = "read_interactions, strong_generalization, save_prepared"
COMMAND = "keras-multvae prepare"
LIKED = "--rating-column rating --min-rating 4"
# Which backend makes no difference to the work: preparing needs none.
SYSTEMS = list(catalogue.BACKENDS)
ROUNDS = 5


def measure(options: Options) -> Result:
    """In fresh processes, in rounds: the functions after import; the whole command."""
    ratings = options.ratings()
    backend = options.systems[0]
    held_out = min(10_000, options.rows // 2000)
    samples: dict[str, dict[str, list[float]]] = {
        quantity: {FUNCTIONS: [], COMMAND: []} for quantity in (SECONDS, PEAK)
    }
    notes = {}
    for done in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.cache) as folder:
            system = System(
                "preparation",
                "benchmarks.speed.systems.files:Preparation",
                environment={"KERAS_BACKEND": backend},
            )
            with Worker(system, options.threads) as worker:
                seconds, notes = worker.call(
                    "prepare",
                    ratings=str(ratings),
                    out=f"{folder}/functions",
                    held_out=held_out,
                )
                peak = worker.memory("VmHWM")
            shutil.rmtree(f"{folder}/functions")
            words = command(ratings, Path(folder) / "command", held_out, LIKED)
            pairs = {
                FUNCTIONS: (seconds, peak),
                COMMAND: run(words, backend, options.threads),
            }
        for name, (seconds, peak) in pairs.items():
            samples[SECONDS][name].append(seconds)
            samples[PEAK][name].append(peak / 2**30)
        say(f"round {done + 1} of {options.rounds}")
    return Result(
        "preparation",
        f"{options.rows:,} ratings",
        samples,
        options.shown("rounds", "threads") | {"backend": backend},
        notes,
        results.machine(),
    )


def command(source: Path, out: Path, held_out: int, more: str) -> list[str]:
    """The command line that prepares MovieLens' columns, with `more` options."""
    words = f"""
    prepare {source} --out {out} --user-column userId --item-column movieId
    --validation-users {held_out} --test-users {held_out} {more}
    """
    return [sys.executable, "-m", "keras_multvae", *words.split()]


def run(command: list[str], backend: str, threads: int) -> tuple[float, int]:
    """Seconds and peak bytes of a command that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment(threads) | {"KERAS_BACKEND": backend},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{errors[-2000:]}")
    return seconds, usage.ru_maxrss * 1024


def table(result: Result) -> str:
    """Seconds and peaks."""
    return markdown(
        ["", f"{SECONDS}, median", "least", "most", f"{PEAK}, median"],
        [
            [name, *spread(values, 1), number(result.median(PEAK, name), 2)]
            for name, values in result.samples[SECONDS].items()
        ],
    )
