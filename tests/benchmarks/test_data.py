"""The data that the speed benchmark makes have the shape that they should have."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.speed import data
from benchmarks.speed.options import Options

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def clicks():
    return data.synthetic(users=4000, items=3000, mean=60)


def test_as_many_clicks_a_user_as_asked_for(clicks):
    sizes = np.diff(clicks.indptr)
    assert clicks.shape == (4000, 3000)
    assert clicks.dtype == np.float32
    assert sizes.mean() == pytest.approx(60, rel=0.02)
    assert sizes.min() == 5
    # Unseen items may have gone to a user at the limit.
    assert sizes.max() <= 3000 // 4 + 10


def test_activity_is_log_normal(clicks):
    logs = np.log(np.diff(clicks.indptr))
    # Below the median the lower limit cuts; above it the quantiles are those of a
    # normal distribution: 84.13% lie below one standard deviation, 97.72% below two.
    middle, one, two = np.quantile(logs, [0.5, 0.8413, 0.9772])
    assert one - middle == pytest.approx(data.ACTIVITY_SIGMA, rel=0.07)
    assert two - one == pytest.approx(data.ACTIVITY_SIGMA, rel=0.12)


def test_popularity_is_zipf(clicks):
    counts = np.sort(np.bincount(clicks.indices, minlength=3000))[::-1]
    assert counts[-1] >= 1
    # Where no user has nearly all of them, clicks fall as 1 / (rank + offset).
    ranks = np.arange(200, 2000)
    slope, _ = np.polyfit(
        np.log(ranks + data.POPULARITY_OFFSET), np.log(counts[200:2000]), 1
    )
    assert slope == pytest.approx(-1, abs=0.12)


def test_items_are_distinct_binary_and_sorted(clicks):
    assert (clicks.data == 1).all()
    assert clicks.has_canonical_format


def test_the_seed_decides(clicks):
    again = data.synthetic(users=4000, items=3000, mean=60)
    other = data.synthetic(users=4000, items=3000, mean=60, seed=1)
    assert (again != clicks).nnz == 0
    assert (other != clicks).nnz > 0


def test_drawing_without_replacement_follows_the_shares():
    rng = np.random.default_rng(0)
    share = np.array([0.6, 0.3, 0.1])
    ids = data.distinct_items(rng, np.full(20_000, 2), share).reshape(-1, 2)
    assert (ids[:, 0] < ids[:, 1]).all()
    # P(both of 0 and 1) = .6 * .3 / .4 + .3 * .6 / .7
    both = ((ids == [0, 1]).all(axis=1)).mean()
    assert both == pytest.approx(0.6 * 0.3 / 0.4 + 0.3 * 0.6 / 0.7, abs=0.015)


def test_a_user_with_all_items():
    ids = data.distinct_items(
        np.random.default_rng(0), np.array([4, 1]), np.ones(4) / 4
    )
    assert ids[:4].tolist() == [0, 1, 2, 3]


def test_ratings_look_like_a_file_of_movielens():
    columns = data.ratings(rows=40_000)
    users = columns["userId"]
    assert len(users) == pytest.approx(40_000, rel=0.02)
    pairs = users * 100_000 + columns["movieId"]
    assert (np.diff(pairs) > 0).all()
    assert np.bincount(users)[1:].min() == 20
    assert (columns["rating"] >= 4).mean() == pytest.approx(0.5, abs=0.02)
    assert sorted(set(columns["rating"])) == [i / 2 for i in range(1, 11)]


def test_shares_of_stars_sum_to_one():
    assert data.STARS.sum() == pytest.approx(1)


def test_gowalla(tmp_path):
    pairs = np.array([[3, 0, 0], [7, 9, 1]])
    np.savez(tmp_path / "gowalla.npz", train=pairs)
    clicks = data.gowalla(tmp_path / "gowalla.npz")
    assert clicks.shape == data.GOWALLA_SHAPE
    assert clicks[0].indices.tolist() == [1, 9]
    assert clicks.sum() == 3


def test_the_work_is_kept(tmp_path):
    options = Options(users=50, cache=tmp_path)
    file = options.clicks()
    written = file.stat().st_mtime_ns
    assert options.clicks() == file
    assert file.stat().st_mtime_ns == written
    assert options.describe().startswith("synthetic: 50 users, 20,108 items")


def test_gowalla_needs_its_file(tmp_path):
    with pytest.raises(ValueError, match=r"needs `--gowalla FILE`"):
        Options(work="gowalla", cache=tmp_path).clicks()


def test_an_event_log_is_in_time_and_has_all_users_in_each_file():
    files = [data.event_log(part, rows=30_000, parts=3) for part in range(3)]
    for file in files:
        assert {len(column) for column in file.values()} == {10_000}
        assert len(np.unique(file["userId"])) > 195
    times = np.concatenate([file["timestamp"] for file in files])
    assert (np.diff(times) >= 0).all()
    again = data.event_log(1, rows=30_000, parts=3)
    assert all((again[name] == column).all() for name, column in files[1].items())
    assert (files[0]["movieId"] != files[1]["movieId"]).any()
