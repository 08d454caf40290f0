"""Users a second and memory while the catalogue grows, with a sampled softmax."""

from __future__ import annotations

from benchmarks.speed import catalogue, results
from benchmarks.speed.options import Options
from benchmarks.speed.processes import Worker, say
from benchmarks.speed.results import Result
from benchmarks.speed.tables import markdown, number, ratio, spread

RATE = "users/s"
RESIDENT = "peak RSS, GiB"
ITEMS = (20_000, 100_000, 300_000, 1_000_000)
# Beside the largest, with the item embeddings in 16 bits.
NARROW = "bfloat16"
# Latent size, width and candidates a step.
UNITS, NUM_SAMPLED = 200, 2000
# Samples an epoch is cut into.
ROUNDS = 8
SYSTEMS = list(catalogue.BACKENDS)


def measure(options: Options) -> Result:
    """An epoch over each catalogue, after some steps that compile."""
    rates: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    batches = -(-options.users // options.batch_size)
    steps = max(batches // options.rounds, 1)
    works = [*((items, None) for items in ITEMS), (ITEMS[-1], NARROW)]
    for items, embedding_dtype in works:
        clicks = options.clicks(items=items)
        for key in options.systems:
            entry = catalogue.OURS[key]
            system = entry.system(
                options.cache,
                "ours:Sampled",
                clicks=str(clicks),
                batch_size=options.batch_size,
                units=UNITS,
                num_sampled=NUM_SAMPLED,
                embedding_dtype=embedding_dtype,
            )
            with Worker(system, options.threads) as worker:
                worker.call("warm_up")
                with worker.watch() as peak:
                    _, seconds = worker.call("parts", steps=steps)
                name = label(entry.name, items, embedding_dtype)
                users = steps * options.batch_size
                rates[name] = [users / each for each in seconds]
                peaks[name] = [peak["VmRSS"] / 2**30]
            say(f"{name} done")
    return Result(
        "items",
        f"synthetic: {options.users:,} users",
        {RATE: rates, RESIDENT: peaks},
        options.shown("batch_size", "threads")
        | {"units": UNITS, "num_sampled": NUM_SAMPLED},
        machine=results.machine(),
    )


def label(system: str, items: int, embedding_dtype: str | None = None) -> str:
    """The name of a system's row."""
    tables = f" in {embedding_dtype}" if embedding_dtype else ""
    return f"{system}, {items:,} items{tables}"


def kept(result: Result) -> dict[str, float]:
    """The rate with the largest catalogue, over that with the smallest, by system."""
    medians = result.medians(RATE)
    largest = f", {ITEMS[-1]:,} items"
    return {
        name.removesuffix(largest): rate
        / medians[name.removesuffix(largest) + f", {ITEMS[0]:,} items"]
        for name, rate in medians.items()
        if name.endswith(largest)
    }


def peak(result: Result) -> dict[str, float]:
    """Memory with the largest catalogue, by system."""
    return {
        name: size
        for name, size in result.medians(RESIDENT).items()
        if name.endswith(f", {ITEMS[-1]:,} items")
    }


def table(result: Result) -> str:
    """Rates against those of the smallest catalogue, and peaks."""
    medians = result.medians(RATE)
    rows = []
    for name, values in result.samples[RATE].items():
        system = name.rsplit(", ", 1)[0]
        base = medians[label(system, ITEMS[0])]
        peak = number(result.median(RESIDENT, name), 1)
        rows.append([name, *spread(values, 0), ratio(medians[name], base), peak])
    header = ["", f"{RATE}, median", "least", "most", "against 20,000", RESIDENT]
    return markdown(header, rows)
