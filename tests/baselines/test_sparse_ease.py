from __future__ import annotations

import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import EASE, SparseEASE
from keras_multvae.baselines import sparse_ease
from keras_multvae.files import DamagedFileError

pytestmark = pytest.mark.once
SETTINGS = (3.0, 0.3, 0.5)


@pytest.mark.parametrize("block", [4, 256])
def test_with_all_items_as_neighbours_it_is_ease(monkeypatch, block):
    monkeypatch.setattr(sparse_ease, "BLOCK", block)
    # Every pair of items was clicked by some user.
    clicks = make_clicks(60, 19, 0.6)
    found = SparseEASE(19, *SETTINGS, neighbours=18).fit(clicks)
    expected = EASE(19, *SETTINGS).fit(clicks)
    np.testing.assert_allclose(found.weights.toarray(), expected.weights, atol=2e-6)
    np.testing.assert_allclose(found.score(clicks), expected.score(clicks), atol=1e-5)
    assert found.score(clicks).dtype == np.float32


def test_an_item_is_regressed_on_its_nearest():
    clicks = make_clicks(60, 19)
    l2, dropout, _ = SETTINGS
    found = SparseEASE(19, l2, dropout, neighbours=5).fit(clicks).weights.toarray()
    x = clicks.toarray().astype("float64")
    gram = x.T @ x
    system = gram + np.diag(l2 + dropout / (1 - dropout) * np.diag(gram))
    closeness = gram / np.sqrt(np.outer(np.diag(system), np.diag(system)))
    np.fill_diagonal(closeness, -1)
    for item in range(19):
        order = np.lexsort((np.arange(19), -closeness[item].round(6)))
        near = np.sort(order[:5])
        expected = np.zeros(19)
        own = np.linalg.solve(system[np.ix_(near, near)], gram[near, item])
        expected[near] = own * (gram[near, item] > 0)
        np.testing.assert_allclose(found[:, item], expected, atol=1e-5)


def test_items_without_clicks_have_no_weights():
    clicks = sparse.csr_matrix([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]])
    weights = SparseEASE(4, 1.0).fit(clicks).weights.toarray()
    np.testing.assert_allclose(weights, EASE(4, 1.0).fit(clicks).weights, atol=1e-6)
    assert not weights[3].any() and not weights[:, 3].any()


def test_the_largest_entries_are_kept():
    model = SparseEASE(19, 3.0, neighbours=6).fit(make_clicks(60, 19))
    dense = model.weights.toarray()
    limit = np.sort(np.abs(dense), axis=None)[-36]
    expected = np.where(np.abs(dense) >= limit, dense, 0)
    np.testing.assert_array_equal(model.cut(0.1).toarray(), expected)
    np.testing.assert_array_equal(model.cut(1.0).toarray(), dense)


def test_save_and_load(tmp_path):
    clicks = make_clicks(60, 19)
    model = SparseEASE(19, *SETTINGS, neighbours=6).fit(clicks)
    model.save(tmp_path / "model.npz")
    loaded = SparseEASE.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.score(clicks), model.score(clicks))
    assert (loaded.l2, loaded.dropout, loaded.user_weight) == SETTINGS
    assert loaded.neighbours == 6


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"`neighbours` must be .* neighbours=0"):
        SparseEASE(12, neighbours=0)
    with pytest.raises(ValueError, match=r"`dropout` must be .* dropout=1"):
        SparseEASE(12, dropout=1)
    with pytest.raises(ValueError, match="ranks 13 items"):
        SparseEASE(13).fit(make_clicks(9, 12))
    with pytest.raises(ValueError, match="call fit"):
        SparseEASE(12).score(make_clicks(9, 12))
    with pytest.raises(DamagedFileError, match="no SparseEASE model"):
        SparseEASE.load(tmp_path / "missing.npz")
