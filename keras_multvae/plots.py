"""Plots of training. matplotlib is imported when a plot is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def plot_history(history: Sequence[dict[str, float]], axes: Any = None) -> Any:
    """Plots loss, beta and validation NDCG@100 against the optimiser step.

    Args:
        history: One dict an epoch with `step`, `loss`, `nll`, `beta` and, where there
            was validation, `val_ndcg_at_100`; as `keras_multvae.training.train` gives.
        axes: Optional, three matplotlib Axes to draw on; new ones by default.

    Returns:
        The three Axes; `axes[0].figure.savefig(path)` writes them.

    Raises:
        ValueError: An empty history.
        ImportError: matplotlib is not installed.

    Example:

    >>> axes = plot_history([{"step": 1, "loss": 9.0, "nll": 8.0, "beta": 0.1}])
    >>> [ax.get_ylabel() for ax in axes]
    ['loss per user', 'beta', 'validation NDCG@100']
    """
    if not history:
        raise ValueError("The history is empty: there is nothing to plot.")
    if axes is None:
        figure = figure_class()(figsize=(7, 8), layout="constrained")
        axes = figure.subplots(3, 1, sharex=True)
    loss, beta, ndcg = axes
    steps = [row["step"] for row in history]
    # A single epoch is a point, which a line does not show.
    style = {"marker": "o", "markersize": 3 if len(steps) < 40 else 0}
    loss.plot(steps, [row["loss"] for row in history], label="loss", **style)
    loss.plot(steps, [row["nll"] for row in history], "--", label="nll", **style)
    loss.set_ylabel("loss per user")
    loss.legend(frameon=False)
    beta.plot(steps, [row["beta"] for row in history], color="tab:green", **style)
    beta.set_ylabel("beta")
    measured = [row for row in history if "val_ndcg_at_100" in row]
    if measured:
        best = max(measured, key=lambda row: row["val_ndcg_at_100"])
        ndcg.plot(
            [row["step"] for row in measured],
            [row["val_ndcg_at_100"] for row in measured],
            color="tab:red",
            **style,
        )
        ndcg.axvline(best["step"], color="grey", linestyle=":", linewidth=1)
        # At the foot of the line, on the side where there is room.
        side = 1 if best["step"] < steps[-1] / 2 else -1
        ndcg.annotate(
            f"best: {best['val_ndcg_at_100']:.3f}",
            (best["step"], 0.05),
            xycoords=("data", "axes fraction"),
            xytext=(6 * side, 0),
            textcoords="offset points",
            ha="left" if side == 1 else "right",
        )
    ndcg.set_ylabel("validation NDCG@100")
    ndcg.set_xlabel("optimiser step")
    return axes


def figure_class() -> Any:
    """Matplotlib's Figure, or an `ImportError` that says how to install it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'Plots need matplotlib. Install it with: pip install "keras_multvae[plots]"'
        ) from error
    return Figure
