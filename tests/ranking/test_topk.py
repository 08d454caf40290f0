from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import make_clicks
from ranking.by_sorting import assert_ranked, lexsorted
from scipy import sparse

from keras_multvae.bfloat16 import DTYPE, widen
from keras_multvae.ranking import top_k, topk


def brute_force(scores, k, seen):
    rows = []
    for u in range(len(scores)):
        unseen = [i for i in range(scores.shape[1]) if not seen[u, i]]
        rows.append(sorted(unseen, key=lambda i: (-scores[u, i], i))[:k])
    return rows


@pytest.mark.parametrize("k", [1, 3, 11, 12, 50])
@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_equals_sorting_with_and_without_ties(k, levels):
    seen = make_clicks(40, 12, density=0.5)
    seen = sparse.csr_matrix(seen.toarray())
    rng = np.random.default_rng(k)
    scores = rng.integers(0, levels, (40, 12)).astype("float32")
    expected = brute_force(scores, k, seen.toarray())
    top = top_k(scores.copy(), k, excluded=seen)
    for row, valid, wanted in zip(top.indices, top.valid, expected, strict=True):
        assert row[:valid].tolist() == wanted


def test_users_who_have_seen_everything_get_nothing():
    top = top_k(np.ones((2, 3)), 2, excluded=sparse.csr_matrix([[1, 1, 1], [0, 1, 0]]))
    assert top.valid.tolist() == [0, 2]
    assert top.indices[1].tolist() == [0, 2]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="k=0"):
        top_k(np.ones((1, 2)), 0)
    for dtype in ("float32", DTYPE):
        for wrong in (np.nan, -np.nan):
            with pytest.raises(ValueError, match="diverged"):
                top_k(np.array([[wrong, 1.0]]).astype(dtype), 1)


def draw(rng, kind, shape):
    """Scores of a kind that a ranking may stumble over."""
    scores = rng.standard_normal(shape)
    if kind == "few levels":
        return rng.integers(0, 3, shape).astype("float64")
    if kind == "all equal":
        return np.ones(shape)
    if kind == "infinite":
        scores[rng.random(shape) < 0.6] = -np.inf
        scores[rng.random(shape) < 0.1] = np.inf
    if kind == "close":
        scores = 1 + 1e-6 * scores
    if kind == "rising":
        scores = np.sort(scores, axis=1)
    return scores


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize(
    "kind", ["plain", "few levels", "all equal", "infinite", "close", "rising"]
)
def test_equals_sorting_whatever_the_shape(kind, dtype):
    rng = np.random.default_rng(0)
    for _ in range(60):
        users, items = rng.integers(1, 50), rng.integers(1, rng.choice([8, 60, 900]))
        k = int(rng.integers(1, rng.choice([3, items + 3])))
        share = rng.choice([0, 0.1, 0.5, 1]) * rng.random((users, 1))
        seen = rng.random((users, items)) < share
        seen[0] = rng.random() < 0.5  # everything or nothing
        scores = draw(rng, kind, (users, items)) - rng.choice([0, 3])
        scores = scores.astype(DTYPE if dtype == "bfloat16" else dtype)
        wide = widen(scores)
        constants = rng.choice([0, 10]) * rng.standard_normal(users).astype(wide.dtype)
        scores.flags.writeable = False  # as JAX gives them
        top = top_k(scores, k, sparse.csr_matrix(seen.astype("float32")), constants)
        assert_ranked(top, lexsorted(wide, k, seen, constants))
        if not seen.any() and not constants.any():
            assert_ranked(top_k(scores, k), lexsorted(wide, k, seen))


def test_scores_that_differ_rank_alike_where_their_differences_round_alike():
    scores = np.float32(1) + np.arange(8, dtype="float32")[None] * np.float32(2**-23)
    constants = np.full(1, 100, "float32")
    assert len(np.unique(scores)) == 8
    assert top_k(scores, 3).indices.tolist() == [[7, 6, 5]]
    assert top_k(scores, 3, constants=constants).indices.tolist() == [[0, 1, 2]]


def test_threads_share_the_users(monkeypatch):
    rng = np.random.default_rng(0)
    scores = rng.random((203, 700)).astype("float32")
    seen = rng.random(scores.shape) < 0.1
    excluded = sparse.csr_matrix(seen.astype("float32"))
    with ThreadPoolExecutor(2) as pool:
        for processors in (1, 2, 5):
            monkeypatch.setattr(topk, "processors", lambda n=processors: n)
            top = top_k(scores, 9, excluded, pool=pool)
            assert_ranked(top, lexsorted(scores, 9, seen))
        scores[200, 5] = np.nan
        for threads in (None, pool):
            with pytest.raises(ValueError, match="diverged"):
                top_k(scores, 9, pool=threads)


def test_constants_that_are_no_numbers_are_a_divergence():
    for constant in (np.nan, np.inf):
        with pytest.raises(ValueError, match="diverged"):
            top_k(np.ones((1, 3)), 1, constants=np.array([constant]))
