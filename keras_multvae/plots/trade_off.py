"""What lists that are more than accurate cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from keras_multvae.evaluation import RankingReport
from keras_multvae.plots.style import COLOURS, figure, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_trade_off(
    reports: Mapping[str, RankingReport],
    metric: str,
    accuracy: str = "ndcg@100",
    axes: Axes | None = None,
) -> Axes:
    """Plots accuracy against another metric, a point a report, in their order.

    Bars are standard errors over users. What is up and to the side that is wanted is
    better in both; a line joins the points, as one setting is turned up.

    Args:
        reports: By label, reports on the same users, as `evaluate_ranking(...,
            rerank=Reranking(...))` gives.
        metric: What is wanted besides, as "diversity@20".
        accuracy: What it costs, as "ndcg@100".
        axes: Optional, matplotlib Axes to draw on; new ones by default.

    Returns:
        The Axes; `axes.figure.savefig(path)` writes them.

    Raises:
        ValueError: No reports, or one without a metric.
        ImportError: matplotlib is not installed.

    Example:

    >>> import numpy as np
    >>> values = {"ndcg@100": np.array([0.3]), "diversity@20": np.array([0.6])}
    >>> report = RankingReport(values, {}, np.array([1]), left_out=0)
    >>> axes = plot_trade_off({"as ranked": report}, "diversity@20")
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('diversity@20', 'NDCG@100')
    """
    if not reports:
        raise ValueError("`reports` is empty: there is nothing to plot.")
    for label, report in reports.items():
        missing = {metric, accuracy} - set(report.metrics)
        if missing:
            raise ValueError(
                f"The report {label!r} must have {metric!r} and {accuracy!r}. "
                f"Received: {report.metrics}."
            )
    if axes is None:
        axes = figure(6, 4.5).subplots()
    points = [(each.mean(metric), each.mean(accuracy)) for each in reports.values()]
    across, up = zip(*points, strict=True)
    axes.errorbar(
        across,
        up,
        xerr=[report.stderr(metric) or 0 for report in reports.values()],
        yerr=[report.stderr(accuracy) or 0 for report in reports.values()],
        marker="o",
        color=COLOURS[0],
        ecolor="grey",
        elinewidth=0.8,
        capsize=2,
    )
    for label, point in zip(reports, points, strict=True):
        axes.annotate(
            label, point, xytext=(5, 5), textcoords="offset points", fontsize="small"
        )
    axes.set_xlabel(title(metric))
    axes.set_ylabel(title(accuracy))
    return axes
