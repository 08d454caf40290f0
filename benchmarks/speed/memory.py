"""Peak memory of training above what the imports take."""

from __future__ import annotations

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, ratio, spread

RESIDENT, ANONYMOUS = "peak RSS, MiB", "peak RssAnon, MiB"
AFTER_IMPORT = "after import, MiB"
EPOCHS = 2
SYSTEMS = list(catalogue.ALL)
ROUNDS = 3


def measure(options: Options) -> Result:
    """Two epochs in fresh processes, one system after the other, in rounds."""
    clicks = options.clicks()
    samples: dict[str, dict[str, list[float]]] = {
        quantity: {catalogue.ALL[key].name: [] for key in options.systems}
        for quantity in (RESIDENT, ANONYMOUS, AFTER_IMPORT)
    }
    for done in range(options.rounds):
        for key in options.systems:
            system = catalogue.ALL[key].system(
                options.cache, clicks=str(clicks), batch_size=options.batch_size
            )
            with Worker(system, options.threads) as worker, worker.watch() as peak:
                for _ in range(EPOCHS):
                    worker.call("epoch")
                found = (
                    worker.memory("VmHWM") - worker.imported["VmRSS"],
                    peak["RssAnon"] - worker.imported["RssAnon"],
                    worker.imported["VmRSS"],
                )
            for quantity, size in zip(samples, found, strict=True):
                samples[quantity][system.name].append(size / 2**20)
        say(f"round {done + 1} of {options.rounds}")
    return Result(
        "memory",
        options.describe(),
        samples,
        options.shown() | {"epochs": EPOCHS},
        machine=results.machine(),
    )


def table(result: Result) -> str:
    """Peaks, and their ratios to plain PyTorch."""
    resident = result.medians(RESIDENT)
    header = [
        "",
        f"{RESIDENT}, median",
        "least",
        "most",
        f"against {catalogue.PLAIN}",
        ANONYMOUS,
        AFTER_IMPORT,
    ]
    return markdown(
        header,
        [
            [
                name,
                *spread(values, 0),
                ratio(resident[name], resident.get(catalogue.PLAIN)),
                f"{result.median(ANONYMOUS, name):,.0f}",
                f"{result.median(AFTER_IMPORT, name):,.0f}",
            ]
            for name, values in result.samples[RESIDENT].items()
        ],
    )
