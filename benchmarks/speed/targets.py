"""What the figures must show, and what they aim at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.speed import (
    catalogue,
    imports,
    items,
    load,
    memory,
    overhead,
    preparation,
    scaling,
    scoring,
    serving,
    training,
)
from benchmarks.speed.results import Result, against
from benchmarks.speed.tables import markdown, percent

Figures = dict[str, float]


@dataclass(frozen=True)
class Target:
    """Bounds on a figure.

    Attributes:
        text: What is measured.
        find: The figures by system; empty where nothing was measured.
        decides: Which system's counts, `max` or `min`.
        must, aim: The bounds; there may be no aim.
        lower: Whether less is better.
        show: A figure as text.
    """

    text: str
    find: Callable[[Sequence[Result]], Figures]
    decides: Callable[..., str]
    must: float
    aim: float | None
    lower: bool
    show: Callable[[float], str]

    def row(self, results: Sequence[Result]) -> list[str] | None:
        """Cells: text, must, aim, figure and whose it is, verdict; or None."""
        found = self.find(results)
        if not found:
            return None
        system = self.decides(found, key=found.__getitem__)
        sign = "at most " if self.lower else ""
        bounds = [
            "" if bound is None else sign + self.show(bound)
            for bound in (self.must, self.aim)
        ]
        value = found[system]
        shown = f"{self.show(value)} ({system})"
        return [self.text, *bounds, shown, self.verdict(value)]

    def verdict(self, value: float) -> str:
        """Which of the bounds are met."""
        side = -1 if self.lower else 1
        if self.aim is not None and side * value >= side * self.aim:
            return "aim met"
        return "met" if side * value >= side * self.must else "missed"


def table(results: Sequence[Result]) -> str:
    """All targets that were measured."""
    rows = [target.row(results) for target in TARGETS]
    return markdown(
        ["measure", "must", "aim", "found", "verdict"], [row for row in rows if row]
    )


def _ratios(
    measure: str, quantity: str, reference: str, systems: Iterable[str]
) -> Callable[[Sequence[Result]], Figures]:
    """Medians of some systems over the reference's."""

    def find(results: Sequence[Result]) -> Figures:
        found = against(results, measure, quantity, reference)
        return {name: found[name] for name in systems if name in found}

    return find


def _figures(
    measure: str, figures: Callable[[Result], Figures]
) -> Callable[[Sequence[Result]], Figures]:
    """What a function makes of each result of a measure, together."""

    def find(results: Sequence[Result]) -> Figures:
        found: Figures = {}
        for result in results:
            if result.measure == measure:
                found |= figures(result)
        return found

    return find


def _medians(measure: str, quantity: str) -> Callable[[Sequence[Result]], Figures]:
    return _figures(measure, lambda result: result.medians(quantity))


def _change(quantity: str) -> Callable[[Sequence[Result]], Figures]:
    """How far many users are from few, whichever way, as a share."""
    return _figures(
        "scaling",
        lambda result: {
            name: abs(times - 1)
            for name, times in scaling.growth(result, quantity).items()
        },
    )


def _times(value: float) -> str:
    return f"{value:.2f}x"


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def _plain(value: float) -> str:
    return f"{value:.3g}"


def _gib(value: float) -> str:
    return f"{value:.2g} GiB"


def _of_limit(systems: Iterable[str]) -> Callable[[Sequence[Result]], Figures]:
    """Rates of some systems as shares of the limit of their precision."""

    def figures(result: Result) -> Figures:
        synthetic = result.work.startswith("synthetic")
        found = training.of_limit(result) if synthetic else {}
        return {name: found[name] for name in systems if name in found}

    return _figures("training", figures)


def _narrow(backend: str) -> Callable[[Sequence[Result]], Figures]:
    """A backend's rate in bfloat16 over its own in float32."""
    wide, narrow = (catalogue.OURS[f"{backend}{end}"].name for end in ("", "-bf16"))

    def find(results: Sequence[Result]) -> Figures:
        found = against(results, "training", training.RATE, wide)
        return {narrow: found[narrow]} if narrow in found else {}

    return find


PLAIN, ANY, FLOAT32 = catalogue.PLAIN, catalogue.ALL_OURS, catalogue.FLOAT32
RATE = training.RATE
NARROW = [name for name in ANY if name not in FLOAT32]
# The targets of the plot.
TRAINING = Target(
    "training, best backend, any dtype, against plain PyTorch",
    _ratios("training", RATE, PLAIN, ANY),
    max, 2.5, 4, False, _times,
)  # fmt: skip
SCORING = Target(
    "scores and top-100, best backend, against plain PyTorch",
    _ratios("scoring", scoring.RATE, PLAIN, ANY),
    max, 4, 6, False, _times,
)  # fmt: skip
MEMORY = Target(
    "peak memory in training above imports, worst backend, against plain PyTorch",
    _ratios("memory", memory.RESIDENT, PLAIN, FLOAT32),
    max, 0.8, 0.5, True, _times,
)  # fmt: skip
TARGETS = [
    TRAINING,
    Target(
        "training, best backend, float32, against plain PyTorch",
        _ratios("training", RATE, PLAIN, FLOAT32),
        max, 1.9, 2.5, False, _times,
    ),
    Target(
        "training, slowest backend, float32, against plain PyTorch",
        _ratios("training", RATE, PLAIN, FLOAT32),
        min, 2.4, 2.8, False, _times,
    ),
    Target(
        "training, best backend, float32, of its limit",
        _of_limit(FLOAT32),
        max, 0.83, 0.9, False, percent,
    ),
    Target(
        "training, best backend, bfloat16, of its limit",
        _of_limit(NARROW),
        max, 0.6, 0.75, False, percent,
    ),
    Target(
        "training, bfloat16 against the same backend's float32, JAX",
        _narrow("jax"),
        min, 1, 1.5, False, _times,
    ),
    Target(
        "... TensorFlow",
        _narrow("tensorflow"),
        min, 1.3, 1.5, False, _times,
    ),
    SCORING,
    Target(
        "scores and top-100, slowest backend, float32, against plain PyTorch",
        _ratios("scoring", scoring.RATE, PLAIN, FLOAT32),
        min, 2, 2.5, False, _times,
    ),
    MEMORY,
    Target(
        "overhead of `fit` over the bare step, worst backend",
        _figures("overhead", overhead.overheads),
        max, 0.05, 0.02, True, percent,
    ),
    Target(
        "preparing 20 M ratings, time",
        _medians("preparation", preparation.SECONDS),
        max, 30, 12, True, _seconds,
    ),
    Target(
        "preparing 20 M ratings, peak memory",
        _medians("preparation", preparation.PEAK),
        max, 4, 2, True, _gib,
    ),
    Target(
        "change of users/s from few to ten times as many users, worst backend",
        _change(scaling.RATE),
        max, 0.1, None, True, percent,
    ),
    Target(
        "change of peak memory from few to ten times as many users, worst backend",
        _change(scaling.RESIDENT),
        max, 0.1, None, True, percent,
    ),
    Target(
        "users/s with 1,000,000 items against 20,000, sampled, best backend",
        _figures("items", items.kept),
        max, 0.5, None, False, percent,
    ),
    Target(
        "... peak memory with 1,000,000 items, worst backend",
        _figures("items", items.peak),
        max, 16, None, True, _gib,
    ),
    Target(
        "import beyond Keras, worst backend",
        _medians("imports", imports.PACKAGE),
        max, 0.3, 0.1, True, _seconds,
    ),
    Target(
        "`keras-multvae --help`, the process from start to end",
        _figures("imports", imports.helps),
        max, 0.3, None, True, _seconds,
    ),
    Target(
        "a served answer to one user against its matmul and top_k, float32",
        _figures("serving", serving.plain),
        max, 1.5, None, True, _times,
    ),
    Target(
        "the local server at 50 requests/s: p99 against its median",
        _figures("load", load.spread),
        max, 3, None, True, _times,
    ),
    Target(
        "... at the rate it holds: p99 of the worst minute, ms",
        _figures("load", load.figures(load.P99, load.HELD)),
        max, load.LIMIT_MS, None, True, _plain,
    ),
    Target(
        "... failed requests and wrong answers",
        _figures("load", load.bad),
        max, 0, None, True, _plain,
    ),
]  # fmt: skip
