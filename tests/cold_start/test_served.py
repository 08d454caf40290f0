"""A new item in the SavedModel of the next export."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from keras_multvae import EASE, MultVAE, Recommender, export_saved_model
from keras_multvae.data import Interactions
from keras_multvae.features import ItemFeatures

tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.once
ITEMS = 30


def test_a_server_ranks_new_items_as_python_does(tmp_path):
    rng = np.random.default_rng(0)
    clicks = Interactions.from_matrix(
        sparse.csr_matrix((rng.random((50, ITEMS)) < 0.3).astype("float32"))
    )
    features = ItemFeatures.from_columns({"kind": ["a", "b", "c"] * 10})
    path = EASE(ITEMS, l2=5.0).fit(clicks).cut(0.4)
    model = MultVAE(ITEMS, latent_dim=3, hidden_dims=(4,), seed=0)
    model = model.with_linear_path(path, 2.0)
    shop = Recommender(model, clicks.items, histories=clicks, features=features)
    grown = shop.add_items([100, 101], {"kind": ["a", "c"]})
    folder = export_saved_model(grown, tmp_path / "model")
    served = tf.saved_model.load(str(folder)).signatures
    item_ids = tf.constant([[0, 5, 100], [7, -1, -1]], tf.int64)
    found = served["score"](
        item_ids=item_ids, candidates=tf.constant([[101, 3], [100, 101]], tf.int64)
    )
    expected = grown.model.score(
        sparse.csr_matrix(
            ([1, 1, 1, 1.0], ([0, 0, 0, 1], [0, 5, ITEMS, 7])), shape=(2, ITEMS + 2)
        )
    )
    np.testing.assert_allclose(
        found["scores"].numpy(),
        [expected[0, [ITEMS + 1, 3]], expected[1, [ITEMS, ITEMS + 1]]],
        rtol=1e-4,
        atol=1e-5,
    )
    alike = served["similar_items"](item_ids=tf.constant([100], tf.int64))
    names = alike["item_ids"].numpy()[0].tolist()
    assert len(names) == ITEMS + 2 and 101 in names[: ITEMS + 1]
