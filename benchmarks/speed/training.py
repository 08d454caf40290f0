"""Users a second in training: whole epochs of `fit`, yardsticks and limit."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from typing import Any

from scipy import sparse

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import System, Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.systems import limit
from benchmarks.speed.tables import markdown, number, percent, ratio, spread

RATE = "users/s"
# The limit of each precision.
LIMITS = {"float32": "limit", "bfloat16": "limit, bfloat16"}
LIMIT = LIMITS["float32"]
SYSTEMS = [*catalogue.ALL, LIMIT]
ROUNDS = 5


def measure(options: Options) -> Result:
    """An epoch of each system, one after the other, in rounds.

    All processes stay alive from the first round to the last, so that what changes on
    the machine meanwhile meets them all.
    """
    clicks = options.clicks()
    users, items = sparse.load_npz(clicks).shape
    entries = [catalogue.ALL[key] for key in options.systems if key != LIMIT]
    rates: dict[str, list[float]] = {entry.name: [] for entry in entries}
    notes: dict[str, Any] = {}
    with ExitStack() as stack:
        workers = []
        for entry in entries:
            system = entry.system(
                options.cache, clicks=str(clicks), batch_size=options.batch_size
            )
            workers.append(stack.enter_context(Worker(system, options.threads)))
            # The first epoch compiles the step.
            seconds, _ = workers[-1].call("epoch")
            say(f"{system.name}: first epoch {seconds:.1f} s")
        if LIMIT in options.systems:
            floor = stack.enter_context(Limit(items, options))
        for done in range(options.rounds):
            for worker in workers:
                seconds, _ = worker.call("epoch")
                rates[worker.name].append(users / seconds)
            if LIMIT in options.systems:
                floor.round()
            say(f"round {done + 1} of {options.rounds}")
    if LIMIT in options.systems:
        for precision, name in LIMITS.items():
            notes[name] = floor.found(precision)
            rates[name] = floor.rates(precision, options.batch_size)
    peers = {
        f"{entry.name}: {package}": version
        for entry in entries
        if entry.environment
        for package, version in entry.environment.versions(options.cache).items()
        if package in ("recbole", "cornac", "torch", "numpy")
    }
    return Result(
        "training",
        options.describe(),
        {RATE: rates},
        options.shown(),
        notes,
        results.machine(peers),
    )


class Limit:
    """The products by each library, and the pass over memory, each in a process."""

    def __init__(self, items: int, options: Options) -> None:
        self.items = items
        self.threads = options.threads
        settings = {"items": items, "batch_size": options.batch_size, "steps": 4}
        self.systems = [
            System(
                f"{library}, {precision}",
                "benchmarks.speed.systems.limit:Products",
                {"library": library, "dtype": precision, **settings},
            )
            for precision, libraries in limit.PRECISIONS.items()
            for library in libraries
        ]
        self.memory = System(
            "memory", "benchmarks.speed.systems.limit:Memory", {"items": items}
        )
        self.seconds: dict[str, list[float]] = {}

    def __enter__(self) -> Limit:
        with ExitStack() as stack:
            self.workers = [
                stack.enter_context(Worker(system, self.threads))
                for system in [*self.systems, self.memory]
            ]
            for worker in self.workers:
                worker.call("seconds")
                self.seconds[worker.name] = []
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def round(self) -> None:
        """A sample of each."""
        for worker in self.workers:
            self.seconds[worker.name].append(worker.call("seconds")[1])

    def products(self, precision: str) -> dict[str, list[float]]:
        """Seconds of the products, by library."""
        return {
            library: self.seconds[f"{library}, {precision}"]
            for library in limit.PRECISIONS[precision]
        }

    def rates(self, precision: str, batch_size: int) -> list[float]:
        """Users a second if products and memory pass were all there is to a step."""
        fastest = min(self.products(precision).values(), key=median)
        pairs = zip(fastest, self.seconds["memory"], strict=True)
        return [batch_size / (products + memory) for products, memory in pairs]

    def found(self, precision: str) -> dict[str, Any]:
        """What the limit is made of."""
        weights = limit.weights(self.items)
        memory = median(self.seconds["memory"])
        products = {k: 1000 * median(v) for k, v in self.products(precision).items()}
        return {
            "library": min(products, key=products.__getitem__),
            "products_ms": products,
            "weights": weights,
            "memory_ms": 1000 * memory,
            "gb_per_s": weights * limit.BYTES_A_WEIGHT / memory / 1e9,
        }


def table(result: Result) -> str:
    """Rates, and their ratios to plain PyTorch and to the limit."""
    medians = result.medians(RATE)
    plain = medians.get(catalogue.PLAIN)
    header = [
        "",
        f"{RATE}, median",
        "least",
        "most",
        f"against {catalogue.PLAIN}",
        "of the limit",
    ]
    rows = [
        [
            name,
            *spread(values, 0),
            ratio(medians[name], plain),
            percent(share) if (share := of_limit(result).get(name)) else "",
        ]
        for name, values in result.samples[RATE].items()
    ]
    text = markdown(header, rows)
    for precision, name in LIMITS.items():
        if name not in result.notes:
            continue
        found = result.notes[name]
        products = ", ".join(f"{k} {v:.0f} ms" for k, v in found["products_ms"].items())
        text += (
            f"\n\nThe limit, a step: three {precision} products ({products}), and "
            f"{found['weights'] / 1e6:.1f} M weights x {limit.BYTES_A_WEIGHT} bytes at "
            f"{number(found['gb_per_s'])} GB/s, {found['memory_ms']:.0f} ms."
        )
    return text


def of_limit(result: Result) -> dict[str, float]:
    """Each system's rate as a share of the limit of its own precision."""
    medians = result.medians(RATE)
    found = {}
    for name, rate in medians.items():
        narrow = "bfloat16" in name or "enable_amp" in name
        floor = medians.get(LIMITS["bfloat16" if narrow else "float32"])
        if floor:
            found[name] = rate / floor
    return found
