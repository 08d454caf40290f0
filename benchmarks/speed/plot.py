"""The ratios to plain PyTorch as bars; rate and memory against the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.speed import catalogue, items, memory, scoring, targets, training
from benchmarks.speed.results import Result, against

# measure, quantity, title, target
PANELS = (
    ("training", training.RATE, "Training, users/s", targets.TRAINING),
    ("scoring", scoring.RATE, "Scores and top-100, users/s", targets.SCORING),
    ("memory", memory.RESIDENT, "Peak memory above imports", targets.MEMORY),
)
OURS, YARDSTICK, LIMIT = "#0072B2", "#999999", "#E69F00"


def ratios(results: Sequence[Result]) -> Any:
    """A matplotlib Figure with a panel for each measure that there are results of."""
    # Not pyplot, whose state is everybody's.
    from matplotlib.figure import Figure

    panels = []
    for measure, quantity, title, target in PANELS:
        found = against(results, measure, quantity, catalogue.PLAIN)
        if found:
            panels.append((found, title, (target.must, target.aim)))
    heights = [len(found) + 1.5 for found, *_ in panels]
    figure = Figure(figsize=(8, 0.3 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for ax, panel in zip(axes[:, 0], panels, strict=True):
        _bars(ax, *panel)
    return figure


def growing(result: Result) -> Any:
    """A matplotlib Figure of the measure `items`: a line a system in two panels."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    figure = Figure(figsize=(8, 3), layout="constrained")
    for ax, quantity in zip(
        figure.subplots(1, 2), (items.RATE, items.RESIDENT), strict=True
    ):
        medians = result.medians(quantity)
        for system in dict.fromkeys(name.rsplit(", ", 1)[0] for name in medians):
            sizes = [n for n in items.ITEMS if items.label(system, n) in medians]
            values = [medians[items.label(system, n)] for n in sizes]
            ax.plot(sizes, values, marker="o", label=system)
        ax.set(xscale="log", xlabel="items", title=quantity)
        ax.set_ylim(bottom=0)
        ax.set_xticks(items.ITEMS)
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return figure


def _bars(
    ax: Any, found: dict[str, float], title: str, bounds: tuple[float, float]
) -> None:
    names = list(found)[::-1]
    bars = ax.barh(names, [found[name] for name in names], height=0.7)
    for name, bar in zip(names, bars, strict=True):
        bar.set_color(
            OURS
            if name in catalogue.ALL_OURS
            else LIMIT
            if name in training.LIMITS.values()
            else YARDSTICK
        )
    for bound, dash, label in zip(bounds, ("--", ":"), ("must", "aim"), strict=True):
        ax.axvline(bound, color="black", linestyle=dash, linewidth=1, label=label)
    labels = ax.bar_label(bars, [f"{found[name]:.2f}x" for name in names], padding=3)
    for text in labels:
        text.set(fontsize=8, bbox={"facecolor": "white", "linewidth": 0, "pad": 0.8})
    ax.set_title(f"{title}, against plain PyTorch", fontsize=10, loc="left")
    ax.tick_params(labelsize=8)
    ax.set_xlim(0, 1.12 * max(*found.values(), *bounds))
    ax.spines[["top", "right"]].set_visible(False)
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2}
    ax.legend(frameon=False, fontsize=8, borderaxespad=0.2, **place)
