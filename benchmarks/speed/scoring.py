"""Users a second in bulk recommendation: scores, seen items masked, the best 100."""

from __future__ import annotations

from contextlib import ExitStack

from scipy import sparse

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, ratio, spread

RATE = "users/s"
K = 100
SYSTEMS = [*catalogue.OURS, "plain"]
ROUNDS = 5


def measure(options: Options) -> Result:
    """All users of each system, one system after the other, in rounds."""
    clicks = options.clicks()
    users, _ = sparse.load_npz(clicks).shape
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        workers = []
        for key in options.systems:
            system = catalogue.ALL[key].system(
                options.cache, clicks=str(clicks), batch_size=options.batch_size
            )
            workers.append(stack.enter_context(Worker(system, options.threads)))
            seconds, found = workers[-1].call("recommend", k=K)
            if found != users * K:
                raise RuntimeError(
                    f"{system.name} recommended {found:,} items to {users:,} users, "
                    f"not {K} to each."
                )
            say(f"{system.name}: first pass {seconds:.1f} s")
            rates[system.name] = []
        for done in range(options.rounds):
            for worker in workers:
                seconds, _ = worker.call("recommend", k=K)
                rates[worker.name].append(users / seconds)
            say(f"round {done + 1} of {options.rounds}")
    return Result(
        "scoring",
        options.describe(),
        {RATE: rates},
        options.shown(),
        machine=results.machine(),
    )


def table(result: Result) -> str:
    """Rates, and their ratios to plain PyTorch."""
    medians = result.medians(RATE)
    header = ["", f"{RATE}, median", "least", "most", f"against {catalogue.PLAIN}"]
    return markdown(
        header,
        [
            [
                name,
                *spread(values, 0),
                ratio(medians[name], medians.get(catalogue.PLAIN)),
            ]
            for name, values in result.samples[RATE].items()
        ],
    )
