"""The style of all plots. matplotlib is imported when a plot is made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from keras_multvae.extras import install_command

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can tell apart. Markers and dashes
# repeat at other intervals, so that all lines differ.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9")
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^v"


def figure_class() -> type[Figure]:
    """Matplotlib's Figure, or an `ImportError` that says how to install it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"Plots need matplotlib. Install it with: {install_command('plots')}"
        ) from error
    return Figure


def figure(width: float, height: float) -> Figure:
    """A new figure, in inches."""
    return figure_class()(figsize=(width, height), layout="constrained")


def title(metric: str) -> str:
    """val_ndcg_at_100 or ndcg@100 -> (validation) NDCG@100."""
    name = metric.replace("val_", "validation ").replace("_at_", "@").replace("_", " ")
    return re.sub("ndcg|mrr|map", lambda found: found[0].upper(), name)


def save(axes: Axes, path: Path) -> None:
    """Writes the figure of some Axes as an image of 120 dots per inch."""
    found = axes.get_figure(root=True)
    assert found is not None
    found.savefig(path, dpi=120)


def legend(axes: Axes) -> None:
    """Draws a legend above the Axes, where it hides nothing."""
    longest = max(map(len, axes.get_legend_handles_labels()[1]), default=0)
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=max(1, 75 // (longest + 8)),
        frameon=False,
    )
