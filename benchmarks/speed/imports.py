"""Seconds that `import keras_multvae` takes beyond `import keras`."""

from __future__ import annotations

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import System, Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number, spread

PACKAGE, KERAS = "keras_multvae, seconds", "keras, seconds"
SYSTEMS = list(catalogue.BACKENDS)
ROUNDS = 9


def measure(options: Options) -> Result:
    """In fresh processes, one backend after the other, in rounds."""
    names = catalogue.BACKENDS
    samples: dict[str, dict[str, list[float]]] = {
        quantity: {names[key]: [] for key in options.systems}
        for quantity in (PACKAGE, KERAS)
    }
    # The first round fills the disk's cache.
    for done in range(options.rounds + 1):
        for key in options.systems:
            system = System(
                names[key],
                "benchmarks.speed.systems.importing:Importing",
                environment={"KERAS_BACKEND": key},
            )
            with Worker(system, options.threads) as worker:
                found = {KERAS: worker.call("keras"), PACKAGE: worker.call("package")}
            if done:
                for quantity, (_, seconds) in found.items():
                    samples[quantity][names[key]].append(seconds)
        say(f"round {done} of {options.rounds}")
    return Result(
        "imports",
        "fresh processes, files in the disk's cache",
        samples,
        options.shown("rounds", "threads"),
        machine=results.machine(),
    )


def table(result: Result) -> str:
    """Seconds of both imports."""
    return markdown(
        ["", f"{PACKAGE}, median", "least", "most", f"{KERAS}, median"],
        [
            [name, *spread(values, 3), number(result.median(KERAS, name))]
            for name, values in result.samples[PACKAGE].items()
        ],
    )
