"""Seconds of `import keras_multvae` beyond `import keras`, and of `--help`."""

from __future__ import annotations

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import System, Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number, spread

PACKAGE, KERAS = "keras_multvae, seconds", "keras, seconds"
HELP = "keras-multvae --help, seconds"
SYSTEMS = list(catalogue.BACKENDS)
ROUNDS = 9


def measure(options: Options) -> Result:
    """In fresh processes, one backend after the other, in rounds."""
    names = catalogue.BACKENDS
    samples: dict[str, dict[str, list[float]]] = {
        quantity: {names[key]: [] for key in options.systems}
        for quantity in (PACKAGE, KERAS, HELP)
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
                found = {
                    HELP: worker.call("help"),
                    KERAS: worker.call("keras"),
                    PACKAGE: worker.call("package"),
                }
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
    """Seconds of both imports, and of the help."""
    others = [quantity for quantity in (KERAS, HELP) if quantity in result.samples]
    return markdown(
        ["", f"{PACKAGE}, median", "least", "most", *(f"{q}, median" for q in others)],
        [
            [
                name,
                *spread(values, 3),
                *(number(result.median(q, name)) for q in others),
            ]
            for name, values in result.samples[PACKAGE].items()
        ],
    )


def helps(result: Result) -> dict[str, float]:
    """The help's median by backend; results of earlier versions have none."""
    return result.medians(HELP) if HELP in result.samples else {}
