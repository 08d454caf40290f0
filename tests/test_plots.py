from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from keras_multvae.data import FoldIn, Interactions
from keras_multvae.evaluation import RankingReport
from keras_multvae.plots import (
    plot_annealing,
    plot_by_activity,
    plot_history,
    plot_trade_off,
)

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.once
HISTORY = [
    {"step": 5, "loss": 9.0, "nll": 8.0, "beta": 0.1, "val_ndcg_at_100": 0.2},
    {"step": 10, "loss": 7.0, "nll": 6.0, "beta": 0.2, "val_ndcg_at_100": 0.4},
    {"step": 15, "loss": 6.0, "nll": 5.0, "beta": 0.2, "val_ndcg_at_100": 0.3},
]


def test_draws_what_the_history_says(tmp_path):
    loss, beta, ndcg = plot_history(HISTORY)
    assert [line.get_label() for line in loss.lines] == ["loss", "nll"]
    assert loss.lines[0].get_xydata().tolist() == [[5, 9], [10, 7], [15, 6]]
    assert beta.lines[0].get_ydata().tolist() == [0.1, 0.2, 0.2]
    assert ndcg.lines[0].get_ydata().tolist() == [0.2, 0.4, 0.3]
    assert [text.get_text() for text in ndcg.texts] == ["best: 0.400"]
    loss.figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_draws_on_given_axes_and_without_validation():
    from matplotlib.figure import Figure

    axes = Figure().subplots(3)
    history = [{k: row[k] for k in ("step", "loss", "nll", "beta")} for row in HISTORY]
    assert plot_history(history, axes) is axes
    assert not axes[2].lines


def test_an_empty_history_is_named():
    with pytest.raises(ValueError, match="empty"):
        plot_history([])


def make_history(betas, values):
    """Epochs from 1; None stands for an epoch without validation."""
    return [
        {"epoch": epoch, "beta": beta, "val_ndcg_at_100": value}
        if value is not None
        else {"epoch": epoch, "beta": beta}
        for epoch, (beta, value) in enumerate(zip(betas, values, strict=True), 1)
    ]


HISTORIES = {
    "beta = 1": make_history([1.0, 1.0], [0.25, 0.3]),
    "annealed": make_history([0.1, 0.2, 0.3, 0.4], [0.2, 0.5, None, 0.5]),
}


def test_annealing_draws_what_the_histories_say(tmp_path):
    upper, lower = plot_annealing(HISTORIES)
    assert [line.get_xydata().tolist() for line in upper.lines] == [
        [[1, 0.25], [2, 0.3]],
        [[1, 0.2], [2, 0.5], [4, 0.5]],
    ]
    assert [line.get_xydata().tolist() for line in lower.lines] == [
        [[1, 1], [2, 1]],
        [[1, 0.1], [2, 0.2], [3, 0.3], [4, 0.4]],
    ]
    # Of equally good epochs the first, as in training.
    for axes in (upper, lower):
        assert [line.get_markevery() for line in axes.lines] == [[1], [1]]
    colours = [line.get_color() for line in upper.lines]
    assert colours == [line.get_color() for line in lower.lines]
    assert len(set(colours)) == 2
    assert [text.get_text() for text in upper.get_legend().texts] == [
        "beta = 1: best 0.300 at beta 1",
        "annealed: best 0.500 at beta 0.2",
    ]
    assert lower.get_legend() is None
    labels = [upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()]
    assert labels == ["validation NDCG@100", "beta", "epoch"]
    assert upper.figure.get_size_inches().tolist() == [7, 5]
    upper.figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_annealing_legend_hides_no_line():
    upper, _ = plot_annealing(
        {f"training {i}": HISTORIES["annealed"] for i in range(8)}
    )
    upper.figure.draw_without_rendering()
    legend = upper.get_legend().get_window_extent()
    assert legend.y0 >= upper.get_window_extent().y1
    width, height = upper.figure.bbox.size
    assert legend.x0 >= 0 and legend.x1 <= width and legend.y1 <= height
    looks = {(line.get_color(), line.get_linestyle()) for line in upper.lines}
    assert len(looks) == 8


def test_annealing_on_given_axes_by_another_metric():
    from matplotlib.figure import Figure

    axes = Figure().subplots(2)
    history = [{"epoch": 1, "val_recall_at_20": 0.5}]  # of a MultDAE: no beta
    assert plot_annealing({"Mult-DAE": history}, "val_recall_at_20", axes) is axes
    assert axes[0].get_ylabel() == "validation recall@20"
    assert axes[0].get_legend().texts[0].get_text() == "Mult-DAE: best 0.500"
    assert len(axes[1].lines[0].get_xydata()) == 0
    axes[0].figure.draw_without_rendering()


def test_annealing_names_what_is_missing():
    with pytest.raises(ValueError, match="no histories"):
        plot_annealing({})
    with pytest.raises(ValueError, match=r"'b' must have 'val_ndcg_at_100'.*\['epoch'"):
        plot_annealing({"a": HISTORIES["annealed"], "b": [{"epoch": 1, "beta": 1.0}]})
    with pytest.raises(ValueError, match=r"'empty' must have.*0 epochs"):
        plot_annealing({"empty": []})


def make_fold_in(activity, without_target=()):
    """Users "u0", "u1", ... with so many input items, and the last item as target."""
    items = max(activity) + 1
    seen = np.arange(items) < np.array(activity)[:, None]
    targets = np.zeros_like(seen)
    targets[:, -1] = ~np.isin(np.arange(len(activity)), without_target)
    ids = [f"u{i}" for i in range(len(activity))]
    return FoldIn(
        *(
            Interactions.from_matrix(sparse.csr_matrix(part.astype("f4")), users=ids)
            for part in (seen, targets)
        )
    )


def make_report(fold_in, seed=0):
    users = np.flatnonzero(np.diff(fold_in.targets.matrix.indptr))
    values = {"ndcg@100": np.random.default_rng(seed).random(len(users))}
    return RankingReport(values, {"coverage@9": 0.5}, fold_in.input.users.ids[users], 0)


def tick_labels(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def drawn(container):
    """x, y and half the length of the error bar of each group, of one model."""
    points, _, (bars,) = container.lines
    low, high = np.array([path.vertices[:, 1] for path in bars.get_paths()]).T
    return *points.get_xydata().T, (high - low) / 2


def test_activity_draws_means_and_standard_errors(tmp_path):
    activity = np.random.default_rng(0).permutation(np.arange(1, 41))
    fold_in = make_fold_in(activity, without_target=[3, 7])
    reports = {name: make_report(fold_in, i) for i, name in enumerate("abc")}
    axes = plot_by_activity(reports, fold_in, groups=4)
    kept = np.delete(activity, [3, 7])
    # 38 users: the quarters end at the 10th, 19th and 29th.
    groups = np.split(np.argsort(kept), [10, 19, 29])
    assert tick_labels(axes) == [
        f"{kept[group].min()}-{kept[group].max()}\n({len(group)} users)"
        for group in groups
    ]
    assert [container.get_label() for container in axes.containers] == list("abc")
    for report, container in zip(reports.values(), axes.containers, strict=True):
        values = [report.values["ndcg@100"][group] for group in groups]
        _, means, errors = drawn(container)
        np.testing.assert_allclose(means, [np.mean(v) for v in values])
        np.testing.assert_allclose(errors, [stats.sem(v) for v in values])
    assert [text.get_text() for text in axes.get_legend().texts] == list("abc")
    assert axes.get_ylabel() == "NDCG@100, mean ± standard error"
    assert axes.get_xlabel() == "input items of a user (users in the group)"
    axes.figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.parametrize("models", [1, 3, 8])
def test_models_stand_side_by_side(models):
    fold_in = make_fold_in(range(1, 51))
    reports = {f"model {i}": make_report(fold_in, i) for i in range(models)}
    axes = plot_by_activity(reports, fold_in)
    places = np.array([drawn(container)[0] for container in axes.containers])
    np.testing.assert_allclose(places.mean(axis=0), range(5), atol=1e-12)
    axes.figure.draw_without_rendering()
    # In reading order, also from one group to the next: caps are 6 points wide.
    order = places.T.ravel()
    pixels = axes.transData.transform(np.stack([order, order], axis=1))[:, 0]
    assert (np.diff(pixels) > 6 * axes.figure.dpi / 72).all()
    looks = {
        (points.get_color(), points.get_marker())
        for points, _, _ in (container.lines for container in axes.containers)
    }
    assert len(looks) == models


@pytest.mark.parametrize(
    ("activity", "groups", "labels"),
    [
        (
            [5] * 6 + [6, 7, 8, 9],
            5,
            ["5\n(6 users)", "6-7\n(2 users)", "8-9\n(2 users)"],
        ),
        ([1, 2, 2, 2, 2, 2, 3, 3], 2, ["1-2\n(6 users)", "3\n(2 users)"]),
        ([4, 4, 4], 5, ["4\n(3 users)"]),
        ([0, 9], 5, ["0\n(1 user)", "9\n(1 user)"]),
        ([3, 1, 2], 1, ["1-3\n(3 users)"]),
    ],
)
def test_equal_activity_is_never_torn(activity, groups, labels):
    fold_in = make_fold_in(activity)
    axes = plot_by_activity({"a": make_report(fold_in)}, fold_in, groups=groups)
    assert tick_labels(axes) == labels
    single = ["(1 user)" in label for label in labels]
    x, means, errors = drawn(axes.containers[0])
    assert np.isfinite(means).all() and len(x) == len(labels)
    assert np.isnan(errors).tolist() == single


def test_activity_on_given_axes():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    fold_in = make_fold_in([1, 2, 3])
    assert plot_by_activity({"a": make_report(fold_in)}, fold_in, axes=axes) is axes
    axes.figure.draw_without_rendering()


def test_activity_names_what_does_not_fit():
    fold_in = make_fold_in([1, 2, 3, 4])
    report = make_report(fold_in)
    other = RankingReport(report.values, {}, report.user_ids[::-1], 0)
    with pytest.raises(ValueError, match=r"'b' must .* 4 users .*'u0'.*'u3'"):
        plot_by_activity({"a": report, "b": other}, fold_in)
    fewer = make_fold_in([1, 2, 3, 4], without_target=[1])
    with pytest.raises(ValueError, match="the 3 users of `fold_in` with a target"):
        plot_by_activity({"a": report}, fewer)
    for metric in ("recall@20", "coverage@9"):
        with pytest.raises(ValueError, match=f"'{metric}' of.*'ndcg@100'"):
            plot_by_activity({"a": report}, fold_in, metric)
    with pytest.raises(ValueError, match="0 reports"):
        plot_by_activity({}, fold_in)
    with pytest.raises(ValueError, match="groups=0"):
        plot_by_activity({"a": report}, fold_in, groups=0)
    with pytest.raises(ValueError, match="0 users"):
        plot_by_activity({"a": report}, make_fold_in([1, 2], without_target=[0, 1]))


def test_a_trade_off_is_a_point_a_report():
    reports = {}
    for label, ndcg, unlike in (("as ranked", 0.4, 0.5), ("diverse", 0.38, 0.7)):
        values = {
            "ndcg@100": np.array([ndcg - 0.1, ndcg + 0.1]),
            "diversity@20": np.array([unlike, unlike]),
        }
        ids = np.array([1, 2])
        reports[label] = RankingReport(values, {"gini@20": 0.2}, ids, left_out=0)
    axes = plot_trade_off(reports, "diversity@20")
    line = axes.lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[0.5, 0.4], [0.7, 0.38]])
    assert [text.get_text() for text in axes.texts] == ["as ranked", "diverse"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("diversity@20", "NDCG@100")
    # One number for all users has no bar.
    assert plot_trade_off(reports, "gini@20", axes=axes) is axes
    with pytest.raises(ValueError, match="'as ranked' must have 'novelty@20'"):
        plot_trade_off(reports, "novelty@20")
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_trade_off({}, "novelty@20")
