from __future__ import annotations

import numpy as np
import pytest
from conftest import make_clicks
from ranking.by_sorting import assert_ranked, lexsorted
from scipy import sparse

from keras_multvae import EASE, MultVAE, Popularity, backend
from keras_multvae.ranking import batches, rank, select_rows, top_k


def test_nobody_to_rank_for():
    top = top_k(np.ones((0, 5), "float32"), 3)
    assert top.indices.shape == top.scores.shape == (0, 3)
    assert list(rank(Popularity(5), sparse.csr_matrix((0, 5)), 3)) == []


@pytest.fixture(params=[False, True], ids=["on the host", "where the scores are"])
def there(request, monkeypatch):
    """Both ways of ranking, whatever the machine has."""
    monkeypatch.setattr(backend, "has_accelerator", lambda: request.param)


def make_model(**options):
    return MultVAE(50, 4, (16,), seed=3, **options)


@pytest.mark.parametrize("likelihood", ["multinomial", "gaussian", "logistic"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_model_is_ranked_by_the_very_scores_that_it_gives(likelihood, dtype, there):
    clicks = make_clicks(70, 50)
    model = make_model(likelihood=likelihood, dtype=dtype)
    scores, seen = model.score(clicks, batch_size=16), clicks.toarray() > 0
    for batch, top in rank(model, clicks, 7, batch_size=16):
        assert_ranked(top, lexsorted(scores[batch], 7, seen[batch]))


@pytest.mark.parametrize("make", [make_model, lambda: Popularity(50), lambda: EASE(50)])
@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("allowed", [None, [0], [3, 4, 17, 30, 49]])
def test_rows_and_allowed_items(make, exclude_seen, allowed, there):
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


@pytest.mark.parametrize("make", [make_model, lambda: Popularity(50)])
@pytest.mark.parametrize("allowed", [None, [3, 4, 17, 30, 49]])
def test_offsets_are_taken_off_all_scores(make, allowed, there):
    clicks, model = make_clicks(40, 50, density=0.4), make()
    if not isinstance(model, MultVAE):
        model.fit(clicks)
    offsets = np.random.default_rng(0).normal(size=50).astype("float32")
    chosen = np.arange(50) if allowed is None else np.array(allowed)
    scores = model.score(clicks)[:, chosen] - offsets[chosen]
    seen = clicks.toarray()[:, chosen] > 0
    options = {"allowed": None if allowed is None else chosen, "offsets": offsets}
    (top,) = (top for _, top in rank(model, clicks, 5, batch_size=40, **options))
    for row, (order, best) in enumerate(lexsorted(scores, 5, seen)):
        assert top.valid[row] == len(order)
        assert top.indices[row, : len(order)].tolist() == chosen[order].tolist()
        np.testing.assert_allclose(top.scores[row, : len(order)], best, atol=1e-5)


def test_a_score_of_ones_own_is_the_one_that_counts(there):
    class Backwards(MultVAE):
        def score(self, histories, batch_size=500):
            return -super().score(histories, batch_size)

    clicks = make_clicks(5, 50)
    model = Backwards(50, 4, (16,), seed=3)
    ((_, top),) = rank(model, clicks, 50, exclude_seen=False)
    expected = np.argsort(make_model().score(clicks), axis=1, kind="stable")
    assert top.indices.tolist() == expected.tolist()


def test_of_equal_scores_the_first_wins_and_nan_is_refused(there):
    model = make_model()
    kernel, bias = model.decoder.weights[-2:]
    kernel.assign(np.zeros(kernel.shape))
    bias.assign(np.zeros(bias.shape))
    clicks = sparse.csr_matrix(np.eye(3, 50, dtype="float32"))
    ((_, top),) = rank(model, clicks, 3)
    assert top.indices.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3]]
    bias.assign(np.full(bias.shape, np.nan))
    with pytest.raises(ValueError, match="its training has diverged"):
        list(rank(model, clicks, 3))


def test_the_batch_fits_into_the_memory_that_is_left(monkeypatch):
    def size(num_items, left, itemsize=4):
        monkeypatch.setattr(batches, "available_memory", lambda: left)
        return batches.default_batch_size(num_items, itemsize=itemsize)

    monkeypatch.setattr(batches.backend, "REUSED_BYTES", 32 << 20)
    assert size(20_108, 1 << 40) == (32 << 20) // (4 * 20_108)
    assert size(20_108, 1 << 40, itemsize=2) == (32 << 20) // (2 * 20_108)
    assert size(100, 1 << 40) == 1000
    assert size(10**7, 1 << 50) == 64
    assert 4 * 4 * 20_108 * size(20_108, 10**8) <= 10**8 / 4
    assert size(20_108, 0) == 1

    assert size(20_108, None) == (32 << 20) // (4 * 20_108)  # the system does not say


def test_rows_of_memory_mapped_arrays(tmp_path):
    clicks = make_clicks(30, 12)
    mapped = clicks.copy()
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(clicks, name))
        array = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        setattr(mapped, name, array)
    for rows in ([4], [2, 2, 29, 0], np.arange(30)):
        taken = select_rows(mapped, np.array(rows))
        np.testing.assert_array_equal(taken.toarray(), clicks.toarray()[rows])
