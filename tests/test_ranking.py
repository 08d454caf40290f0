from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import EASE, MultVAE, Popularity
from keras_multvae.ranking import batches, rank, take_rows, top_k, topk


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
    with pytest.raises(ValueError, match="diverged"):
        top_k(np.array([[np.nan, 1.0]]), 1)


def lexsorted(scores, k, seen, constants=0.0):
    """Each user's unseen items by (score, index), and their scores; all sorted."""
    scores = scores - np.reshape(constants, (-1, 1)).astype(scores.dtype)
    for row, barred in zip(scores, seen, strict=True):
        unseen = np.flatnonzero(~barred)
        order = unseen[np.lexsort((unseen, -row[unseen]))][:k]
        yield order, row[order]


def assert_ranked(top, expected):
    for items, scores, valid, (order, best) in zip(*top, expected, strict=True):
        assert valid == len(order)
        assert items[:valid].tolist() == order.tolist()
        np.testing.assert_array_equal(scores[:valid], best)
        assert (scores[valid:] == -np.inf).all()
        assert len(set(items.tolist())) == len(items)  # the rest are items, too


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
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
        scores = draw(rng, kind, (users, items)).astype(dtype)
        constants = rng.choice([0, 10]) * rng.standard_normal(users).astype(dtype)
        scores.flags.writeable = False  # as JAX gives them
        top = top_k(scores, k, sparse.csr_matrix(seen.astype("float32")), constants)
        assert_ranked(top, lexsorted(scores, k, seen, constants))
        if not seen.any() and not constants.any():
            assert_ranked(top_k(scores, k), lexsorted(scores, k, seen))


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


def test_nobody_to_rank_for():
    top = top_k(np.ones((0, 5), "float32"), 3)
    assert top.indices.shape == top.scores.shape == (0, 3)
    assert list(rank(Popularity(5), sparse.csr_matrix((0, 5)), 3)) == []


def make_model(**options):
    return MultVAE(50, 4, (16,), seed=3, **options)


@pytest.mark.parametrize("likelihood", ["multinomial", "gaussian", "logistic"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_model_is_ranked_by_the_very_scores_that_it_gives(likelihood, dtype):
    clicks = make_clicks(70, 50)
    model = make_model(likelihood=likelihood, dtype=dtype)
    scores, seen = model.score(clicks, batch_size=16), clicks.toarray() > 0
    for batch, top in rank(model, clicks, 7, batch_size=16):
        assert_ranked(top, lexsorted(scores[batch], 7, seen[batch]))


@pytest.mark.parametrize("make", [make_model, lambda: Popularity(50), lambda: EASE(50)])
@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("allowed", [None, [0], [3, 4, 17, 30, 49]])
def test_rows_and_allowed_items(make, exclude_seen, allowed):
    clicks = make_clicks(40, 50, density=0.4)
    model = make()
    if not isinstance(model, MultVAE):
        model.fit(clicks)
    rows = np.array([7, 3, 2, 39, 7, 0])
    barred = clicks.toarray()[rows] > 0 if exclude_seen else np.zeros((6, 50), bool)
    if allowed is not None:
        allowed = np.array(allowed)
        barred[:, np.setdiff1d(np.arange(50), allowed)] = True
    found = rank(
        model, clicks, 6, rows=rows, exclude_seen=exclude_seen, allowed=allowed,
        batch_size=4,
    )  # fmt: skip
    (first, a), (second, b) = found
    assert [*first, *second] == rows.tolist()
    tops = [np.concatenate(parts) for parts in zip(a, b, strict=True)]
    expected = lexsorted(model.score(clicks[rows], batch_size=4), 6, barred)
    assert_ranked(tops, expected)


def test_a_score_of_ones_own_is_the_one_that_counts():
    class Backwards(MultVAE):
        def score(self, histories, batch_size=500):
            return -super().score(histories, batch_size)

    clicks = make_clicks(5, 50)
    model = Backwards(50, 4, (16,), seed=3)
    ((_, top),) = rank(model, clicks, 50, exclude_seen=False)
    expected = np.argsort(make_model().score(clicks), axis=1, kind="stable")
    assert top.indices.tolist() == expected.tolist()


def test_the_batch_fits_into_the_memory_that_is_left(monkeypatch):
    def size(num_items, left):
        monkeypatch.setattr(batches, "available_memory", lambda: left)
        return batches.default_batch_size(num_items)

    assert size(20_108, 1 << 40) == (32 << 20) // (4 * 20_108)
    assert size(100, 1 << 40) == 500
    assert size(10**7, 1 << 50) == 64
    assert 4 * 4 * 20_108 * size(20_108, 10**8) <= 10**8 / 4
    assert size(20_108, 0) == 1


def test_the_memory_that_is_left(monkeypatch, tmp_path):
    monkeypatch.setattr(batches, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(batches, "CGROUP", tmp_path)
    assert batches.available_memory() == 1 << 30  # the system does not say
    (tmp_path / "meminfo").write_text("MemFree: 5 kB\nMemAvailable:   2000 kB\n")
    assert batches.available_memory() == 2000 << 10
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    assert batches.available_memory() == 2000 << 10
    (tmp_path / "memory.max").write_text("1000\n")
    assert batches.available_memory() == 300
    (tmp_path / "memory.current").write_text("1700\n")
    assert batches.available_memory() == 0


def test_rows_of_memory_mapped_arrays(tmp_path):
    clicks = make_clicks(30, 12)
    mapped = clicks.copy()
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(clicks, name))
        array = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        setattr(mapped, name, array)
    for rows in ([4], [2, 2, 29, 0], np.arange(30)):
        taken = take_rows(mapped, np.array(rows))
        np.testing.assert_array_equal(taken.toarray(), clicks.toarray()[rows])
