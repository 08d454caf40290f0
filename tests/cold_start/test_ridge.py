"""The regression, how well items are known, the path and the lists: NumPy alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from keras_multvae.cold_start import linear_path
from keras_multvae.cold_start.calibration import Lists
from keras_multvae.cold_start.evidence import (
    FewClicks,
    behaviour,
    half_known,
    mix,
    shown_clicks,
)
from keras_multvae.cold_start.ridge import PENALTIES, Regression

pytestmark = pytest.mark.once
RNG = np.random.default_rng(0)


def solved(design, targets, weights, penalty):
    """Ridge with an intercept that is not penalised, by the normal equations."""
    wide = np.column_stack([np.ones(len(design)), design])
    left = wide.T @ (weights[:, None] * wide)
    left[1:, 1:] += penalty * np.eye(design.shape[1])
    return np.linalg.solve(left, wide.T @ (weights[:, None] * targets))


@pytest.mark.parametrize("width", [4, 60])
@pytest.mark.parametrize("stored", [np.asarray, sparse.csr_matrix])
def test_regression_is_that_of_the_normal_equations(width, stored):
    design = (RNG.random((40, width)) < 0.4).astype("float64")
    weights = RNG.random(40)
    weights[3] = 0
    weights /= weights.max()
    targets = design[:, :2] @ [[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]]
    targets = targets + RNG.normal(0, 0.5, targets.shape)
    targets[3] = 1e6  # of no weight
    regression = Regression(stored(design), weights)
    fitted = regression.fit(targets)
    beta = solved(design, targets, weights, fitted.penalty)
    new = (RNG.random((5, width)) < 0.4).astype("float64")
    expected = np.column_stack([np.ones(5), new]) @ beta
    np.testing.assert_allclose(regression.predict(stored(new), fitted), expected, 1e-5)


def test_left_out_is_fitting_anew_without_each_item():
    design, targets = RNG.normal(size=(25, 3)), RNG.normal(size=(25, 2))
    weights = RNG.uniform(0.2, 1, 25)
    weights /= weights.max()
    regression = Regression(design, weights)
    errors = []
    for multiple in PENALTIES:
        one = Regression(design, weights, [multiple])
        fitted = one.fit(targets)
        expected = []
        for item in range(25):
            others = np.arange(25) != item
            beta = solved(
                design[others], targets[others], weights[others], fitted.penalty
            )
            expected.append(np.append(1, design[item]) @ beta)
        np.testing.assert_allclose(one.left_out(targets, fitted), expected, 1e-6)
        errors.append(float(weights @ ((targets - expected) ** 2).sum(axis=1)))
    # The penalty is the one that predicts best what was left out.
    chosen = regression.fit(targets).penalty
    assert chosen == Regression(design, weights, [PENALTIES[np.argmin(errors)]]).fit(
        targets
    ).penalty  # fmt: skip


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="No item is known"):
        Regression(np.ones((3, 1)), np.zeros(3))


def test_half_known_is_where_own_noise_is_as_large_as_what_features_miss():
    counts = RNG.integers(1, 200, 4000)
    squares = RNG.normal(0, np.sqrt(0.5 + 4 / counts)) ** 2
    assert 6 < half_known(counts, squares) < 11
    assert half_known(counts, 1.0 * counts) == 10
    assert half_known(counts, 1 / counts) == 1000


def test_behaviour_is_the_mean_of_the_users_less_that_of_all():
    clicks = sparse.csr_matrix(RNG.random((20, 4)) < [0.0, 0.1, 0.5, 1.0])
    queries = RNG.normal(size=(20, 3))
    found = behaviour(clicks.astype("float32"), queries)
    for item in range(4):
        users = clicks[:, [item]].toarray().ravel()
        expected = (
            queries[users].mean(axis=0) - queries.mean(axis=0) if any(users) else 0
        )
        np.testing.assert_allclose(found[item], expected, atol=1e-7)


def test_shown_clicks_are_so_many_of_each_item():
    clicks = sparse.csc_matrix(RNG.random((50, 6)) < 0.3)
    shown = shown_clicks(clicks, 5, seed=0)
    counts = np.asarray(shown.sum(axis=0)).ravel()
    np.testing.assert_array_equal(counts, np.minimum(np.diff(clicks.indptr), 5))
    assert (shown.toarray() <= clicks.toarray()).all()


def test_mix_moves_from_features_to_clicks():
    few = mix(np.ones((2, 1)), np.zeros((2, 1)), np.array([[0], [30]]), 10.0)
    assert few.ravel().tolist() == [0, 0.75]


def test_few_clicks_tell_of_rows():
    """Rows that users' tastes give, and features that say nothing of them."""
    rng = np.random.default_rng(5)
    taste, rows = rng.normal(size=(800, 3)), rng.normal(size=(90, 3))
    clicks = sparse.csr_matrix(
        (taste @ rows.T + rng.gumbel(size=(800, 90)) > 1).astype("float32")
    )

    def queries_of(histories):
        assert histories.shape == clicks.shape
        return taste

    few = FewClicks(clicks, queries_of, np.ones(90), rows)
    new = rng.normal(size=(40, 3))
    theirs = taste @ new.T + rng.gumbel(size=(800, 40)) > 1
    told = sparse.csr_matrix(theirs.astype("float32")), taste, few.fit(rows)
    # Until it is said how much they count, features alone do.
    assert (few.mixed(np.ones((40, 3)), *told) == 1).all()
    few.half_known = 10.0
    found = few.mixed(np.zeros((40, 3)), *told)
    assert ((found - new) ** 2).mean() < 0.5 * (new**2).mean()
    # Known items that stand for new ones: the more clicks, the less is missed.
    places = np.arange(0, 90, 2)
    weights = np.ones(90)
    weights[places] = 0
    missed = [
        (
            (
                few.standing_in(
                    np.zeros((45, 3)), rows, places, weights, np.full(45, count)
                )
                - rows[places]
            )
            ** 2
        ).mean()
        for count in (0, 3, 30)
    ]
    assert missed[0] == pytest.approx((rows[places] ** 2).mean())
    assert missed[0] > missed[1] > missed[2]


def test_path_grows_by_the_rows_and_columns_of_neighbours():
    path = sparse.random(8, 8, 0.5, "csr", rng=1)
    path.setdiag(0)
    design = np.eye(4)[[0, 0, 1, 1, 2, 2, 3, 3]]
    weights = np.linspace(0.3, 1, 8)
    near = linear_path.neighbours(design, np.eye(4)[[1]], weights)
    shares = weights[[2, 3]] / weights[[2, 3]].sum()
    np.testing.assert_allclose(near.toarray()[0, [2, 3]], shares)
    assert near.nnz == 2
    grown = linear_path.grown(path, near, 0.5).toarray()
    dense = path.toarray()
    np.testing.assert_array_equal(grown[:8, :8], dense)
    most = round(path.nnz / 8)
    for found, expected in (
        (grown[:8, 8], 0.5 * dense[:, [2, 3]] @ shares),
        (grown[8, :8], 0.5 * shares @ dense[[2, 3]]),
    ):
        kept = np.argsort(-np.abs(expected))[:most]
        cut = np.zeros(8)
        cut[kept] = expected[kept]
        np.testing.assert_allclose(found, cut, rtol=1e-6)
    own = linear_path.neighbours(design, design, weights, np.arange(8))
    assert own.diagonal().sum() == 0
    # Where each item's column is its neighbour's, that is worth all of it.
    twins = sparse.csr_matrix(np.repeat(RNG.random((8, 4)), 2, axis=1))
    assert linear_path.worth(twins, design, weights) == pytest.approx(1)
    assert linear_path.worth(sparse.csr_matrix((8, 8)), design, weights) == 0


def test_bounds_keep_items_from_being_buried_and_from_everybodys_list():
    users, items = 2000, 300
    logits = RNG.normal(size=(users, items)).astype("float32")
    seen = sparse.csr_matrix((users, items))
    personal = RNG.normal(size=(users, 3)).astype("float32")
    found = Lists(logits, seen).bounded(np.array([-50.0, -0.5, 50.0]), personal)
    assert found[1] == -0.5
    # How often each would be among a user's 100, by sorting.
    last = np.sort(logits, axis=1)[:, -100]
    lists = ((personal + found.astype("float32")) >= last[:, None]).sum(axis=0)
    known = (logits >= last[:, None]).sum(axis=0)
    assert 2 <= lists[0] <= 3
    assert np.quantile(known, 0.98) < lists[2] <= known.max()
