"""Retrieval by inner products: query and item vectors against the model itself."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import MultDAE, MultVAE, Popularity, Recommender
from keras_multvae.data import Interactions, UserBatches

ITEMS = 25


def make(kind, hidden_dims):
    clicks = Interactions.from_matrix(make_clicks(40, ITEMS))
    model = kind(ITEMS, 4, hidden_dims, seed=3)
    model.compile()
    model.fit(UserBatches(clicks.matrix, 20), epochs=1, verbose=0)
    return Recommender(model, clicks.items, histories=clicks)


@pytest.mark.parametrize(
    ("kind", "hidden_dims"), [(MultVAE, (8,)), (MultVAE, ()), (MultDAE, (8, 6))]
)
def test_products_are_the_logits(kind, hidden_dims):
    recommender = make(kind, hidden_dims)
    queries = recommender.query_vectors(user_ids="all")
    items = recommender.item_vectors()
    assert queries.dtype == items.dtype == np.float32
    assert items.flags.c_contiguous
    width = (hidden_dims[0] if hidden_dims else 4) + 1
    assert queries.shape == (40, width)
    assert items.shape == (ITEMS, width)
    rows = recommender.histories.matrix.toarray()
    expected = recommender.model.predict(rows, verbose=0)
    np.testing.assert_allclose(queries @ items.T, expected, atol=1e-5)


def test_exact_search_gives_the_recommendations():
    recommender = make(MultVAE, (8,))
    history = [3, 11, 20]
    query = recommender.query_vectors(history)
    logits = (query @ recommender.item_vectors().T)[0]
    logits[history] = -np.inf
    expected, scores = recommender.recommend(history, k=5)[0]
    best = np.argsort(-logits)[:5]
    assert best.tolist() == expected.tolist()
    # A score is a logit less a constant of the user.
    np.testing.assert_allclose(np.ptp(logits[best] - scores), 0, atol=1e-5)
    unseen = recommender.query_vectors([[], history])
    assert unseen.shape[0] == 2


def test_a_baseline_has_none():
    clicks = Interactions.from_matrix(sparse.csr_matrix(np.ones((3, 4))))
    recommender = Recommender(Popularity(4).fit(clicks), clicks.items)
    with pytest.raises(TypeError, match="Popularity"):
        recommender.query_vectors([0])
    with pytest.raises(TypeError, match="Popularity"):
        recommender.item_vectors()
