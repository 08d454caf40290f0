from __future__ import annotations

import pytest

from keras_multvae.plots import plot_history

pytest.importorskip("matplotlib")
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
