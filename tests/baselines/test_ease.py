from __future__ import annotations

import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import EASE, evaluate_ranking
from keras_multvae.baselines import ease, tuning
from keras_multvae.data import Interactions, strong_generalization
from keras_multvae.files import DamagedFileError

pytestmark = pytest.mark.once


def oracle(clicks, l2, dropout=0.0, user_weight=0.0):
    """B in float64 by the textbook formula."""
    dense = clicks.toarray().astype("float64")
    items = (dense > 0).sum(axis=1)
    users = np.where(items > 0, np.maximum(items, 1.0) ** -user_weight, 0)
    gram = (dense.T * users / users[items > 0].mean()) @ dense
    noise = dropout / (1 - dropout) * np.diag(np.diag(gram))
    inverse = np.linalg.inv(gram + noise + l2 * np.eye(dense.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("block", [4, 7, 1024])
def test_weights_are_those_of_the_closed_form(monkeypatch, block):
    monkeypatch.setattr(ease, "BLOCK", block)
    clicks = make_clicks(40, 19)
    model = EASE(19, l2=3.0).fit(clicks)
    np.testing.assert_allclose(model.weights, oracle(clicks, 3.0), atol=2e-6)
    assert model.weights.dtype == np.float32
    np.testing.assert_allclose(
        model.score(clicks), clicks.toarray() @ oracle(clicks, 3.0), atol=1e-5
    )


def test_no_linear_model_without_diagonal_does_better():
    clicks, l2 = make_clicks(40, 12), 2.0
    weights = EASE(12, l2).fit(clicks).weights.astype("float64")
    x = clicks.toarray()

    def objective(b):
        return np.sum((x - x @ b) ** 2) + l2 * np.sum(b**2)

    rng = np.random.default_rng(0)
    for _ in range(20):
        step = 0.01 * rng.normal(size=weights.shape)
        np.fill_diagonal(step, 0)
        assert objective(weights) < objective(weights + step)


@pytest.mark.parametrize(("dropout", "user_weight"), [(0.5, 0.0), (0.0, 0.5), (0.3, 1)])
def test_dropout_and_user_weights_in_closed_form(dropout, user_weight):
    clicks = make_clicks(40, 19)
    model = EASE(19, 3.0, dropout, user_weight).fit(clicks)
    expected = oracle(clicks, 3.0, dropout, user_weight)
    np.testing.assert_allclose(model.weights, expected, atol=2e-6)


def test_dropout_is_what_many_draws_of_it_come_to():
    clicks, dropout, l2 = make_clicks(30, 8, 0.5), 0.4, 2.0
    rng = np.random.default_rng(0)
    x = clicks.toarray().astype("float64")
    draws = 20_000
    gram = np.zeros((8, 8))
    target = np.zeros((8, 8))
    for _ in range(draws):
        noisy = x * (rng.random(x.shape) >= dropout) / (1 - dropout)
        gram += noisy.T @ noisy / draws
        target += noisy.T @ x / draws
    weights = EASE(8, l2, dropout).fit(clicks).weights
    for item in range(8):
        others = np.arange(8) != item
        system = gram[np.ix_(others, others)] + l2 * np.eye(7)
        expected = np.linalg.solve(system, target[others, item])
        np.testing.assert_allclose(weights[others, item], expected, atol=0.01)


@pytest.mark.parametrize("density", [0.01, 0.2, 1.0])
def test_what_is_cut_are_the_largest_entries(monkeypatch, density):
    monkeypatch.setattr(ease, "BLOCK", 7)
    model = EASE(19, 3.0).fit(make_clicks(40, 19))
    sizes = np.abs(model.weights)
    kept = min(max(round(density * 19 * 19), 1), 19 * 18)
    limit = np.sort(sizes, axis=None)[-kept]
    expected = np.where(sizes >= limit, model.weights, 0)
    np.testing.assert_array_equal(model.cut(density).toarray(), expected)


def test_tuned_settings_are_at_a_peak_of_the_validation():
    clicks = Interactions.from_matrix(make_clicks(150, 20, 0.3))
    split = strong_generalization(clicks, 40, 0)
    model = EASE.tuned(split)

    def value(*settings):
        fitted = EASE(20, *settings).fit(split.train)
        return evaluate_ranking(fitted, split.validation).mean("ndcg@100")

    chosen = (model.l2, model.dropout, model.user_weight)
    best = value(*chosen)
    assert best >= value(200.0, 0.5, 0.5)
    for axis, grid in enumerate((tuning.L2, tuning.DROPOUT, tuning.USER_WEIGHT)):
        place = grid.index(chosen[axis])
        for near in grid[max(place - 1, 0) : place + 2]:
            assert value(*chosen[:axis], near, *chosen[axis + 1 :]) <= best
    np.testing.assert_allclose(
        model.weights, EASE(20, *chosen).fit(split.train).weights, atol=1e-6
    )
    with pytest.raises(ValueError, match="validation part"):
        EASE.tuned(strong_generalization(clicks, 0, 40))


def test_counts_weigh_and_an_empty_history_scores_zero():
    counts = make_clicks(40, 12)
    counts.data[::3] = 4
    model = EASE(12, 2.0).fit(counts)
    np.testing.assert_allclose(model.weights, oracle(counts, 2.0), atol=2e-6)
    assert not model.score(sparse.csr_matrix((1, 12))).any()


def test_save_and_load(tmp_path, clicks):
    model = EASE(12, 2.0, 0.5, 0.25).fit(clicks)
    model.save(tmp_path / "model.npz")
    loaded = EASE.load(tmp_path / "model.npz")
    assert (loaded.l2, loaded.dropout, loaded.user_weight) == (2.0, 0.5, 0.25)
    np.testing.assert_array_equal(loaded.score(clicks), model.score(clicks))


def test_bad_input_is_named(tmp_path, clicks):
    with pytest.raises(ValueError, match=r"`l2` must be .* l2=0"):
        EASE(12, 0)
    with pytest.raises(ValueError, match="ranks 13 items"):
        EASE(13).fit(clicks)
    with pytest.raises(ValueError, match="call fit"):
        EASE(12).score(clicks)
    with pytest.raises(ValueError, match="call fit"):
        EASE(12).save(tmp_path / "m.npz")
    with pytest.raises(ValueError, match="larger `l2`"):
        EASE(12, 1e-30).fit(sparse.csr_matrix(np.ones((3, 12))))
    with pytest.raises(DamagedFileError, match="no EASE model"):
        EASE.load(tmp_path / "missing.npz")
