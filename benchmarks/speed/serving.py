"""A SavedModel's answer to one user: latency, memory, size; what quantizing costs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import data, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import System, Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number, ratio

ANSWER, FLOOR = "answer, ms", "matmul and top_k, ms"
DISK, RESIDENT, PEAK = "on disk, MiB", "RSS, MiB", "peak RSS, MiB"
QUALITY = "NDCG@100 of each user"
# By the argument of export_saved_model.
VARIANTS = {"float32": None, "bfloat16": "bfloat16", "int8": "int8"}
PLAIN = "float32"
TIMES = 100
SYSTEMS = list(VARIANTS)
ROUNDS = 7
TARGET = "benchmarks.speed.systems"


def measure(options: Options) -> Result:
    """Answers and floor in alternation, one process a variant, in rounds."""
    variants = {name: VARIANTS[name] for name in options.systems}
    samples: dict[str, dict[str, list[float]]] = {
        quantity: {name: [] for name in variants}
        for quantity in (ANSWER, FLOOR, DISK, RESIDENT, PEAK)
    }
    with tempfile.TemporaryDirectory() as out, ExitStack() as stack:
        quality = _export(options, out, variants)
        if quality:
            samples[QUALITY] = quality
        workers = {}
        for name in variants:
            version = Path(out, name, "1")
            files = [each for each in version.rglob("*") if each.is_file()]
            size = sum(each.stat().st_size for each in files)
            system = System(
                name,
                f"{TARGET}.served:Served",
                {"path": str(version), "items": data.NUM_ITEMS},
            )
            worker = stack.enter_context(Worker(system, options.threads))
            worker.call("answer")
            imported = worker.imported["VmRSS"]
            for quantity, value in (
                (DISK, size),
                (RESIDENT, worker.memory("VmRSS") - imported),
                (PEAK, worker.memory("VmHWM") - imported),
            ):
                samples[quantity][name].append(value / 2**20)
            worker.call("compare", times=TIMES)
            workers[name] = worker
        for done in range(options.rounds):
            for name, worker in workers.items():
                _, seconds = worker.call("compare", times=TIMES)
                samples[ANSWER][name].append(1000 * seconds["answer"])
                samples[FLOOR][name].append(1000 * seconds["floor"])
            say(f"round {done + 1} of {options.rounds}")
    return Result(
        "serving",
        f"one user, {data.NUM_ITEMS:,} items, k = 100",
        samples,
        options.shown("rounds", "threads"),
        machine=results.machine(),
    )


def _export(
    options: Options, out: str, variants: dict[str, Any]
) -> dict[str, list[float]] | None:
    """Writes the SavedModels; each variant's NDCG@100, if there are ratings."""
    system = System(
        "export", f"{TARGET}.exporting:Exporting", {}, {"KERAS_BACKEND": "tensorflow"}
    )
    with Worker(system, options.threads) as worker:
        worker.call("untrained", items=data.NUM_ITEMS, out=out, variants=variants)
        if options.movielens is None:
            return None
        ratings = str(options.movielens)
        _, found = worker.call("quality", ratings=ratings, out=out, variants=variants)
        return found


def ratios(result: Result) -> dict[str, float]:
    """Medians over the floor's in the same process, by variant."""
    floor = result.medians(FLOOR)
    return {
        name: answer / floor[name] for name, answer in result.medians(ANSWER).items()
    }


def plain(result: Result) -> dict[str, float]:
    """The ratio that a bound is set to."""
    return {name: value for name, value in ratios(result).items() if name == PLAIN}


def table(result: Result) -> str:
    """A line a variant."""
    header = ["weights", f"{ANSWER}, median", "least", "most", "against the floor"]
    header += [DISK, RESIDENT, PEAK]
    quality = result.samples.get(QUALITY)
    if quality:
        header += ["NDCG@100", f"minus {PLAIN}", "p"]
    over_floor = ratios(result)
    rows = []
    for name, answers in result.samples[ANSWER].items():
        values = (result.median(ANSWER, name), min(answers), max(answers))
        row = [name, *(number(value, 2) for value in values)]
        row.append(ratio(over_floor[name], 1))
        row += [number(result.median(each, name), 0) for each in (DISK, RESIDENT, PEAK)]
        if quality:
            row.append(f"{np.mean(quality[name]):.4f}")
            row += _difference(quality, name)
        rows.append(row)
    return markdown(header, rows)


def _difference(quality: dict[str, list[float]], name: str) -> Sequence[str]:
    if name == PLAIN or PLAIN not in quality:
        return ["", ""]
    # Not above: it brings Keras into the process that has the others measured.
    from keras_multvae.evaluation import paired_test

    return paired_test(np.array(quality[name]), np.array(quality[PLAIN])).cells()
