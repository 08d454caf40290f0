"""What was stored by earlier versions still loads, and scores the same."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import sparse

from keras_multvae import Recommender
from keras_multvae.data import UserBatches, load_prepared

HERE = Path(__file__).parent
RECOMMENDERS = sorted(path.name for path in (HERE / "recommenders").iterdir())


@pytest.fixture(scope="module")
def scores():
    with np.load(HERE / "scores.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_a_recommender_of_before_scores_as_it_did(name, scores):
    recommender = Recommender.load(HERE / "recommenders" / name)
    histories = sparse.csr_matrix(scores["histories"])
    tolerance = 2e-2 if "mixed" in name else 1e-5
    np.testing.assert_allclose(
        recommender.model.score(histories), scores[name], atol=tolerance, rtol=0
    )


@pytest.mark.parametrize("name", [n for n in RECOMMENDERS if n.startswith("mult")])
def test_a_network_of_before_goes_on_training(name, scores):
    model = Recommender.load(HERE / "recommenders" / name).model
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 9
    clicks = sparse.csr_matrix(scores["clicks"])
    before = model.score(clicks)
    history = model.fit(UserBatches(clicks, 10), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert not np.allclose(model.score(clicks), before)
    if "beta" in history:
        # The twelfth step of the annealing that was interrupted after the ninth.
        assert history["beta"] == [pytest.approx(min(11 / 20, 0.2))]


def test_histories_and_titles_of_before():
    recommender = Recommender.load(HERE / "recommenders" / "multvae")
    assert recommender.histories.users.ids[:2].tolist() == ["u00", "u01"]
    assert recommender.histories.timestamps is not None
    assert recommender.histories.num_entries == recommender.histories.matrix.nnz
    assert recommender.titles["i03"] == "Title é 3"
    assert "i10" not in recommender.titles


def test_a_prepared_folder_of_before(scores):
    prepared = load_prepared(HERE / "prepared")
    split = prepared.split
    everybody = Recommender.load(HERE / "recommenders" / "multvae").histories
    np.testing.assert_array_equal(everybody.matrix.toarray(), scores["values"])
    columns = everybody.items.index(split.train.items.ids)
    for part in (split.train, split.validation, split.test):
        held_out = part is not split.train
        users = part.input.users if held_out else part.users
        found = part.input.matrix + part.targets.matrix if held_out else part.matrix
        rows = everybody.users.index(users.ids)
        wanted = scores["values"][np.ix_(rows, columns)]
        np.testing.assert_array_equal(found.toarray(), wanted)
    assert prepared.titles["i03"] == "Title é 3"
