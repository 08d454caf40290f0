"""Users a second and memory while users grow tenfold, from a memory-mapped folder."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number, ratio, spread

RATE = "users/s"
RESIDENT, ANONYMOUS = "peak RSS, MiB", "peak RssAnon, MiB"
GROWTH = 10
SYSTEMS = list(catalogue.BACKENDS)
ROUNDS = 5


def measure(options: Options) -> Result:
    """Epochs over few users, one over many, epochs over few again.

    A sample is the time of as many steps as the few users make: an epoch of theirs, a
    tenth of the epoch of the many.
    """
    few, many = options.users, options.users * GROWTH
    steps = max(few // options.batch_size, 1)
    part = min(steps * options.batch_size, few)
    samples: dict[str, dict[str, list[float]]] = {
        quantity: {} for quantity in (RATE, RESIDENT, ANONYMOUS)
    }
    for key in options.systems:
        entry = catalogue.OURS[key]
        with ExitStack() as stack:
            workers, peaks = {}, {}
            for users in (few, many):
                system = entry.system(
                    options.cache,
                    "ours:Mapped",
                    folder=str(options.folder(users)),
                    batch_size=options.batch_size,
                )
                worker = stack.enter_context(Worker(system, options.threads))
                # Compiles the step.
                worker.call("warm_up")
                workers[users] = worker
                peaks[users] = stack.enter_context(worker.watch())
            seconds: dict[int, list[float]] = {few: [], many: []}
            before = options.rounds - options.rounds // 2
            for users, epochs in ((few, before), (many, 1), (few, options.rounds // 2)):
                for _ in range(epochs):
                    seconds[users] += workers[users].call("parts", steps=steps)[1]
                say(f"{entry.name}: {users:,} users done")
            for users, worker in workers.items():
                name = label(entry.name, users)
                rates = [part / each for each in seconds[users]]
                samples[RATE][name] = rates
                for quantity, key_ in ((RESIDENT, "VmRSS"), (ANONYMOUS, "RssAnon")):
                    size = peaks[users][key_] - worker.imported[key_]
                    samples[quantity][name] = [size / 2**20]
    return Result(
        "scaling",
        f"{options.work}: {few:,} and {many:,} users",
        samples,
        options.shown("batch_size", "rounds", "threads") | {"users": [few, many]},
        machine=results.machine(),
    )


def label(system: str, users: int) -> str:
    """The name of a system's row."""
    return f"{system}, {users:,} users"


def growth(result: Result, quantity: str) -> dict[str, float]:
    """What a quantity has with many users, over what it has with few, by system."""
    few, many = (f", {users:,} users" for users in result.settings["users"])
    medians = result.medians(quantity)
    return {
        name.removesuffix(many): value / medians[name.removesuffix(many) + few]
        for name, value in medians.items()
        if name.endswith(many)
    }


def table(result: Result) -> str:
    """Rates and peaks; the ratio of many users to few."""
    few, many = (f", {users:,} users" for users in result.settings["users"])
    rates = result.medians(RATE)
    rows = []
    for name, values in result.samples[RATE].items():
        base = rates[name.removesuffix(many) + few] if name.endswith(many) else None
        peaks = [number(result.median(each, name), 0) for each in (RESIDENT, ANONYMOUS)]
        rows.append([name, *spread(values, 0), ratio(rates[name], base), *peaks])
    header = [
        "",
        f"{RATE}, median",
        "least",
        "most",
        "against few",
        RESIDENT,
        ANONYMOUS,
    ]
    return markdown(header, rows)
