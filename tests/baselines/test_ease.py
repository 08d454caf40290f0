from __future__ import annotations

import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import EASE
from keras_multvae.baselines import ease
from keras_multvae.files import DamagedFileError

pytestmark = pytest.mark.once


def oracle(clicks, l2):
    """B in float64 by the textbook formula."""
    dense = clicks.toarray().astype("float64")
    inverse = np.linalg.inv(dense.T @ dense + l2 * np.eye(dense.shape[1]))
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


def test_counts_weigh_and_an_empty_history_scores_zero():
    counts = make_clicks(40, 12)
    counts.data[::3] = 4
    model = EASE(12, 2.0).fit(counts)
    np.testing.assert_allclose(model.weights, oracle(counts, 2.0), atol=2e-6)
    assert not model.score(sparse.csr_matrix((1, 12))).any()


def test_save_and_load(tmp_path, clicks):
    model = EASE(12, 2.0).fit(clicks)
    model.save(tmp_path / "model.npz")
    loaded = EASE.load(tmp_path / "model.npz")
    assert loaded.l2 == 2.0
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
