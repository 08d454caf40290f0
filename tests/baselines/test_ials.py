from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import IALS
from keras_multvae.files import DamagedFileError

pytest.importorskip("implicit")

pytestmark = pytest.mark.once


def factors_of(fixed, clicks, regularization, alpha):
    """The other side's factors in float64, by the textbook normal equations."""
    dense = clicks.toarray().astype("float64")
    solved = []
    for row in dense:
        confidence = np.diag(1 + alpha * row)
        gram = fixed.T @ confidence @ fixed + regularization * np.eye(fixed.shape[1])
        solved.append(np.linalg.solve(gram, fixed.T @ confidence @ (row > 0)))
    return np.array(solved)


def objective(users, items, clicks, regularization, alpha):
    dense = clicks.toarray().astype("float64")
    error = (1 + alpha * dense) * ((dense > 0) - users @ items.T) ** 2
    return error.sum() + regularization * ((users**2).sum() + (items**2).sum())


@pytest.fixture(scope="module")
def counts():
    counts = make_clicks(40, 12)
    counts.data[::3] = 3
    return counts


def test_scores_solve_the_normal_equations_of_new_users(counts):
    model = IALS(12, 4, regularization=0.5, alpha=2.0).fit(counts)
    items = model.item_factors.astype("float64")
    new = make_clicks(9, 12, 0.4, seed=7)
    users = factors_of(items, new, 0.5, 2.0)
    scores = model.score(new)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, users @ items.T, atol=1e-5)
    assert not scores[2].any()  # no clicks


def test_scores_are_those_of_implicit_itself(counts):
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    model = IALS(12, 4, regularization=0.5, alpha=2.0).fit(counts)
    with threadpool_limits(1, user_api="blas"):
        theirs = AlternatingLeastSquares(4, regularization=0.5)
        theirs.item_factors = model.item_factors
        confidences = counts.copy()
        confidences.data = 1 + 2 * confidences.data
        users = theirs.recalculate_user(np.arange(40), confidences)
    np.testing.assert_allclose(
        model.score(counts), users @ model.item_factors.T, atol=1e-4
    )


def test_many_iterations_reach_a_stationary_point(counts):
    model = IALS(12, 3, regularization=0.5, alpha=2.0, iterations=300).fit(counts)
    items = model.item_factors.astype("float64")
    users = factors_of(items, counts, 0.5, 2.0)
    again = factors_of(users, counts.T.tocsr(), 0.5, 2.0)
    np.testing.assert_allclose(items, again, atol=2e-3)
    few = IALS(12, 3, regularization=0.5, alpha=2.0, iterations=1).fit(counts)
    few_items = few.item_factors.astype("float64")
    few_users = factors_of(few_items, counts, 0.5, 2.0)
    assert objective(users, items, counts, 0.5, 2.0) < objective(
        few_users, few_items, counts, 0.5, 2.0
    )


def test_a_checkerboard_is_completed():
    board = (np.arange(30)[:, None] + np.arange(20)) % 2 == 0
    clicks = sparse.csr_matrix(board.astype("float32"))
    model = IALS(20, 8, regularization=0.1).fit(clicks)
    history = np.zeros((2, 20), "float32")
    history[0, [0, 2]] = history[1, [1, 3]] = 1
    top = np.argsort(-model.score(sparse.csr_matrix(history)), axis=1)[:, :10]
    assert (top[0] % 2 == 0).all()
    assert (top[1] % 2 == 1).all()


def test_the_seed_decides(counts):
    one, two, other = (IALS(12, 4, seed=seed).fit(counts) for seed in (1, 1, 2))
    np.testing.assert_allclose(one.item_factors, two.item_factors, atol=1e-5)
    assert np.abs(one.item_factors - other.item_factors).max() > 1e-3


def test_save_and_load_without_implicit(tmp_path, counts, monkeypatch):
    model = IALS(12, 4, regularization=0.5, alpha=2.0).fit(counts)
    model.save(tmp_path / "model.npz")
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    loaded = IALS.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.score(counts), model.score(counts))
    with pytest.raises(ImportError, match=r"keras_multvae\[ials\]"):
        loaded.fit(counts)


def test_bad_input_is_named(tmp_path, counts):
    for name, value in (
        ("factors", 0),
        ("iterations", 1.5),
        ("regularization", 0.0),
        ("alpha", float("nan")),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be .* {name}="):
            IALS(12, **{name: value})
    with pytest.raises(ValueError, match="ranks 13 items"):
        IALS(13).fit(counts)
    with pytest.raises(ValueError, match="call fit"):
        IALS(12).score(counts)
    with pytest.raises(DamagedFileError, match="no IALS model"):
        IALS.load(tmp_path / "missing.npz")
