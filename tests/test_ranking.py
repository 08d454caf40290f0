from __future__ import annotations

import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae.ranking import top_k


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
