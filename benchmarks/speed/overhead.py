"""What `fit` costs a step beyond Keras' compiled step on ready batches."""

from __future__ import annotations

import math
from contextlib import ExitStack

from scipy import sparse

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, percent, spread

FIT, BARE = "fit, ms a step", "bare step, ms"
SYSTEMS = list(catalogue.BACKENDS)
ROUNDS = 7


def measure(options: Options) -> Result:
    """An epoch of `fit`, then one of bare steps, in rounds, in the same process."""
    clicks = options.clicks()
    users, _ = sparse.load_npz(clicks).shape
    steps = math.ceil(users / options.batch_size)
    samples: dict[str, dict[str, list[float]]] = {FIT: {}, BARE: {}}
    with ExitStack() as stack:
        workers = []
        for key in options.systems:
            system = catalogue.OURS[key].system(
                options.cache, clicks=str(clicks), batch_size=options.batch_size
            )
            workers.append(stack.enter_context(Worker(system, options.threads)))
            for method in ("epoch", "prepare_bare", "bare"):
                workers[-1].call(method)
            samples[FIT][system.name], samples[BARE][system.name] = [], []
        for done in range(options.rounds):
            for worker in workers:
                for quantity, method in ((FIT, "epoch"), (BARE, "bare")):
                    seconds, _ = worker.call(method)
                    samples[quantity][worker.name].append(1000 * seconds / steps)
            say(f"round {done + 1} of {options.rounds}")
    return Result(
        "overhead",
        options.describe(),
        samples,
        options.shown() | {"steps": steps},
        machine=results.machine(),
    )


def overheads(result: Result) -> dict[str, float]:
    """Share of the bare step, by system."""
    bare = result.medians(BARE)
    return {name: fit / bare[name] - 1 for name, fit in result.medians(FIT).items()}


def table(result: Result) -> str:
    """Both times, and the difference as a share."""
    shares = overheads(result)
    return markdown(
        [
            "",
            f"{FIT}, median",
            "least",
            "most",
            f"{BARE}, median",
            "least",
            "most",
            "overhead",
        ],
        [
            [
                name,
                *spread(values, 1),
                *spread(result.samples[BARE][name], 1),
                percent(shares[name]),
            ]
            for name, values in result.samples[FIT].items()
        ],
    )
