"""Plots of training and its results. matplotlib is imported when a plot is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from keras_multvae import checks
from keras_multvae.data import FoldIn
from keras_multvae.evaluation import RankingReport
from keras_multvae.plots.style import COLOURS, DASHES, MARKERS, figure, legend, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_history(
    history: Sequence[dict[str, float]], axes: Sequence[Axes] | None = None
) -> Sequence[Axes]:
    """Plots loss, beta and validation NDCG@100 against the optimiser step.

    Args:
        history: One dict an epoch with `step`, `loss`, `nll` and, where there is a
            beta or was validation, `beta` and `val_ndcg_at_100`; as
            `keras_multvae.training.train` gives.
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
        axes = figure(7, 8).subplots(3, 1, sharex=True)
    loss, beta, ndcg = axes
    steps = [row["step"] for row in history]
    # A line does not show a single epoch.
    style: dict[str, Any] = {"marker": "o", "markersize": 3 if len(steps) < 40 else 0}
    loss.plot(steps, [row["loss"] for row in history], label="loss", **style)
    loss.plot(steps, [row["nll"] for row in history], "--", label="nll", **style)
    loss.set_ylabel("loss per user")
    loss.legend(frameon=False)
    if "beta" in history[0]:  # not of a MultDAE
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


def plot_annealing(
    histories: Mapping[str, Sequence[dict[str, float]]] | Sequence[dict[str, float]],
    metric: str = "val_ndcg_at_100",
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """Plots a validation metric and beta against the epoch, one line a training.

    Dots mark the best epochs; the legend above the plot tells their values and betas.

    Args:
        histories: By label, one dict an epoch with `epoch` and, where there is a beta
            or was validation, `beta` and the metric; as `keras_multvae.training.train`
            gives. They may differ in length. Or one of them alone, as
            `find_beta_cap(...).history`.
        metric: One of which more is better, as the history names it.
        axes: Optional, two matplotlib Axes to draw on; new ones by default. Leave room
            above the first for the legend.

    Returns:
        The two Axes; `axes[0].figure.savefig(path)` writes them.

    Raises:
        ValueError: No histories, or one without the metric.
        ImportError: matplotlib is not installed.

    Example:

    >>> steady = [{"epoch": 1, "beta": 1.0, "val_ndcg_at_100": 0.31}]
    >>> annealed = [{"epoch": 1, "beta": 0.1, "val_ndcg_at_100": 0.34}]
    >>> axes = plot_annealing({"constant": steady, "annealed": annealed})
    >>> [text.get_text() for text in axes[0].get_legend().texts]
    ['constant: best 0.310 at beta 1', 'annealed: best 0.340 at beta 0.1']

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), figure 1
    """
    if not histories:
        raise ValueError("There are no histories: there is nothing to plot.")
    if not isinstance(histories, Mapping):
        histories = {"training": histories}
    for label, history in histories.items():
        if not any(metric in row for row in history):
            raise ValueError(
                f"The history {label!r} must have {metric!r} in some epoch. Received: "
                f"{len(history)} epochs with {list(history[0]) if history else []}."
            )
    if axes is None:
        axes = figure(7, 5).subplots(2, 1, sharex=True, height_ratios=(2, 1))
        axes[1].locator_params(axis="x", integer=True, min_n_ticks=1)
    upper, lower = axes
    for index, (label, history) in enumerate(histories.items()):
        measured = [row for row in history if metric in row]
        best = max(measured, key=itemgetter(metric))
        weight = f" at beta {best['beta']:.2g}" if "beta" in best else ""
        for ax, key in ((upper, metric), (lower, "beta")):
            rows = [row for row in history if key in row]
            ax.plot(
                [row["epoch"] for row in rows],
                [row[key] for row in rows],
                color=COLOURS[index % len(COLOURS)],
                linestyle=DASHES[index % len(DASHES)],
                marker="o",
                markevery=[at for at, row in enumerate(rows) if row is best],
                label=f"{label}: best {best[metric]:.3f}{weight}",
            )
    legend(upper)
    upper.set_ylabel(title(metric))
    lower.set_ylabel("beta")
    lower.set_xlabel("epoch")
    return axes


def plot_by_activity(
    reports: Mapping[str, RankingReport],
    fold_in: FoldIn,
    metric: str = "ndcg@100",
    groups: int = 5,
    axes: Axes | None = None,
) -> Axes:
    r"""Plots the mean of a metric for users with few, more and many input items.

    The groups are quantiles; users with equal numbers of items stay together, so that
    groups may differ in size and be fewer. Bars are standard errors of the mean; a
    single user has none.

    Args:
        reports: By label, what `evaluate_ranking` gave for each model on `fold_in`.
        fold_in: The split that the reports are on.
        metric: A per-user metric of all reports.
        groups: Int, how many groups to aim at.
        axes: Optional matplotlib Axes to draw on; new ones by default. Leave room above
            for the legend.

    Returns:
        The Axes; `axes.figure.savefig(path)` writes them.

    Raises:
        ValueError: No reports, a report on other users or without the metric, no user
            with a target, or groups < 1.
        ImportError: matplotlib is not installed.

    Example:

    >>> from keras_multvae.data import Interactions
    >>> clicks = Interactions.from_events([1, 1, 2, 3], list("abac"))
    >>> targets = Interactions.from_events([1, 2, 3], list("cbb"))
    >>> fold_in = FoldIn(clicks, targets.with_items(clicks.items))
    >>> values = {"ndcg@100": np.array([0.2, 0.4, 0.3])}
    >>> report = RankingReport(values, {}, user_ids=np.array([1, 2, 3]), left_out=0)
    >>> axes = plot_by_activity({"EASE": report}, fold_in)
    >>> [label.get_text().split("\n") for label in axes.get_xticklabels()]
    [['1', '(2 users)'], ['2', '(1 user)']]
    """
    users = np.flatnonzero(np.diff(fold_in.targets.matrix.indptr))
    groups = checks.integer("groups", groups)
    if not (reports and len(users)):
        raise ValueError(
            "The plot needs at least one report and one user with a target. "
            f"Received: {len(reports)} reports, {len(users)} users."
        )
    _check_reports(reports, metric, fold_in.input.users.ids[users])
    members = _by_activity(np.diff(fold_in.input.matrix.indptr)[users], groups)
    if axes is None:
        axes = figure(7, 5).subplots()
    # Side by side around the tick, and clear of the next group.
    step = min(0.15, 0.7 / len(reports))
    for index, (label, report) in enumerate(reports.items()):
        values = [report.values[metric][group] for group in members.values()]
        axes.errorbar(
            np.arange(len(members)) + (index - (len(reports) - 1) / 2) * step,
            [group.mean() for group in values],
            [stats.sem(group) if len(group) > 1 else np.nan for group in values],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle="none",
            capsize=3,
            label=label,
        )
    axes.set_xticks(range(len(members)), list(members))
    axes.set_xlim(-0.5, len(members) - 0.5)
    axes.set_xlabel("input items of a user (users in the group)")
    axes.set_ylabel(f"{title(metric)}, mean ± standard error")
    legend(axes)
    return axes


def plot_importances(
    importances: Mapping[str, float], axes: Axes | None = None
) -> Axes:
    """Plots how much each setting of a study mattered, the most important on top.

    Args:
        importances: By name, as `Tuning.importances`.
        axes: Optional matplotlib Axes to draw on; new ones by default.

    Returns:
        The Axes; `axes.figure.savefig(path)` writes them.

    Raises:
        ValueError: There are none.
        ImportError: matplotlib is not installed.

    Example:

    >>> axes = plot_importances({"dropout": 0.75, "latent_dim": 0.25})
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['dropout', 'latent_dim']
    """
    if not importances:
        raise ValueError(
            "There are no importances to plot: a study has them from its fourth "
            "finished trial on."
        )
    if axes is None:
        axes = figure(7, 1.5 + 0.35 * len(importances)).subplots()
    names = list(importances)
    bars = axes.barh(names, [importances[name] for name in names], color=COLOURS[0])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * max(max(importances.values()), 1e-9))
    axes.set_xlabel("importance for validation NDCG@100, in sum 1")
    return axes


def _check_reports(
    reports: Mapping[str, RankingReport], metric: str, user_ids: np.ndarray
) -> None:
    """Raises ValueError unless all reports have the metric of these users."""
    for label, report in reports.items():
        same = np.array_equal(report.user_ids, user_ids)
        if not same or metric not in report.values:
            raise ValueError(
                f"The report {label!r} must have {metric!r} of the {len(user_ids)} "
                f"users of `fold_in` with a target, in order: {user_ids[:3]} and so "
                f"on. Received: {[*report.values]} of {report.users} users, "
                f"{report.user_ids[:3]} and so on."
            )


def _by_activity(activity: np.ndarray, groups: int) -> dict[str, np.ndarray]:
    """Indices of the users of each quantile group by tick label."""
    ends = (np.arange(1, groups) * len(activity) - 1) // groups
    # Users of equal activity are on the same side of every edge.
    number = np.searchsorted(np.sort(activity)[ends], activity)
    members = {}
    for group in (np.flatnonzero(number == n) for n in np.unique(number)):
        low, high = activity[group].min(), activity[group].max()
        items = f"{low}-{high}" if low < high else f"{low}"
        plural = "s" if len(group) > 1 else ""
        members[f"{items}\n({len(group)} user{plural})"] = group
    return members
