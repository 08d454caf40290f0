"""A linear model beside a network: f(x) + w (x B) in inference, f(x) in training."""

from __future__ import annotations

import keras
import numpy as np
import oracle
import pytest
from conftest import make_clicks
from outside import FixedPath
from scipy import sparse

from keras_multvae import (
    EASE,
    MultDAE,
    MultVAE,
    Recommender,
    SampledSoftmax,
    backend,
    distribution,
    evaluate_ranking,
)
from keras_multvae.data import (
    Interactions,
    UserBatches,
    Vocabulary,
    strong_generalization,
)

ITEMS, WEIGHT = 12, 3.0
CLICKS = make_clicks(40, ITEMS)
# One row without an entry, one full, one cut.
LINEAR = EASE(ITEMS, 2.0, 0.5, 0.5).fit(CLICKS).weights
LINEAR[4] = 0
LINEAR[5, :9] = 0
B = sparse.csr_matrix(LINEAR)
KINDS = {
    "MultVAE": lambda: MultVAE(ITEMS, 3, (6,), seed=1),
    "MultDAE": lambda: MultDAE(ITEMS, 3, seed=1),
    "logistic": lambda: MultVAE(ITEMS, 3, (6,), likelihood="logistic", seed=1),
    "tied": lambda: MultVAE(ITEMS, 3, (6,), tied=True, seed=1),
    "sampled": lambda: MultVAE(ITEMS, 3, (6,), head=SampledSoftmax(4), seed=1),
    "outside": lambda: FixedPath(ITEMS, 4, seed=1),
}


def with_path(kind="MultVAE"):
    network = KINDS[kind]()
    network.compile()
    return network, network.with_linear_path(B, WEIGHT)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_both(kind):
    network, model = with_path(kind)
    batch = UserBatches(CLICKS, 40, shuffle=False)
    both = network.predict(batch, verbose=0) + WEIGHT * (CLICKS @ LINEAR)
    np.testing.assert_allclose(model.predict(batch, verbose=0), both, atol=2e-5)
    if kind != "logistic":
        values, _ = model.unnormalized_scores(CLICKS)
        np.testing.assert_allclose(values, both, atol=2e-5)


def test_the_network_is_the_oracle(clicks):
    network, model = with_path()
    x = clicks.toarray().astype("float64")
    f = oracle.forward(oracle.Weights.of(network), x)[0]
    f += WEIGHT * (x @ LINEAR.astype("float64"))
    expected = f - np.log(np.exp(f).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(model.score(clicks), expected, atol=1e-5)


def test_dense_rows_and_counts_weigh_as_they_are():
    counts = CLICKS.copy()
    counts.data[::3] = 4
    network, model = with_path()
    both = network.predict(counts.toarray(), verbose=0) + WEIGHT * (counts @ LINEAR)
    np.testing.assert_allclose(
        model.predict(counts.toarray(), verbose=0), both, atol=2e-5
    )
    batch = UserBatches(counts, 7, shuffle=False)
    np.testing.assert_allclose(model.predict(batch, verbose=0), both, atol=2e-5)


def test_training_is_that_of_the_network():
    histories = []
    for model in with_path():
        batches = UserBatches(CLICKS, 10, seed=3)
        logs = model.fit(batches, epochs=2, verbose=0).history
        histories.append(
            (logs["loss"], list(map(backend.to_host, model.trainable_variables)))
        )
    (loss, weights), (loss_beside, weights_beside) = histories
    np.testing.assert_allclose(loss_beside, loss, rtol=1e-6)
    for one, other in zip(weights, weights_beside, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)


def test_saved_loaded_grown_and_taken_away(tmp_path):
    network, model = with_path()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.score(CLICKS), model.score(CLICKS))
    assert abs(loaded.linear_path.matrix() - B).max() == 0
    grown = loaded.with_new_items(ITEMS + 2)
    assert grown.linear_path.matrix()[ITEMS:].nnz == 0
    wider = sparse.csr_matrix((CLICKS.data, CLICKS.indices, CLICKS.indptr), (40, 14))
    old, _ = model.unnormalized_scores(CLICKS)
    new, _ = grown.unnormalized_scores(wider)
    np.testing.assert_allclose(new[:, :ITEMS], old, atol=1e-6)
    again = loaded.without_linear_path()
    np.testing.assert_array_equal(again.score(CLICKS), network.score(CLICKS))
    assert again.compiled and again.linear_path is None


def test_items_that_only_fill_devices_have_no_weights():
    _, model = with_path()
    filled = distribution._copy(model, 2)
    batch = UserBatches(CLICKS, 40, shuffle=False)[0][0]
    expected = model.predict_on_batch(batch)
    found = filled.predict_on_batch(batch)
    np.testing.assert_allclose(found[:, :ITEMS], expected, atol=1e-6)


def test_evaluate_ranks_as_evaluate_ranking():
    clicks = Interactions.from_matrix(make_clicks(60, ITEMS, 0.6))
    split = strong_generalization(clicks, 0, 10)
    model = MultVAE(split.train.num_items, 3, (6,), seed=1)
    model.compile()
    linear = EASE(model.num_items, 2.0).fit(split.train)
    model = model.with_linear_path(linear.cut(1.0), WEIGHT)
    held_out = split.test
    logs = model.evaluate(
        UserBatches(held_out.input, 10, targets=held_out.targets),
        return_dict=True,
        verbose=0,
    )
    report = evaluate_ranking(model, held_out)
    assert logs["ndcg_at_100"] == pytest.approx(report.mean("ndcg@100"), abs=1e-6)


def test_similar_items_are_the_networks_and_vectors_are_refused():
    network, model = with_path()
    items = Vocabulary(range(ITEMS))
    similar = [Recommender(each, items).similar_items([3]) for each in (network, model)]
    assert similar[0][0][0].tolist() == similar[1][0][0].tolist()
    for ask in ("query_vectors", "item_vectors"):
        arguments = [[[1, 2]]] if ask == "query_vectors" else []
        with pytest.raises(TypeError, match="without_linear_path"):
            getattr(Recommender(model, items), ask)(*arguments)


@pytest.mark.parametrize(
    ("weights", "weight", "message"),
    [
        (sparse.eye(5), 1.0, r"\(num_items, num_items\) = \(12, 12\).* \(5, 5\)"),
        (sparse.csr_matrix(np.full((12, 12), np.nan)), 1.0, "must be finite"),
        (B, -1.0, "`weight` must be a finite number >= 0"),
    ],
)
def test_what_is_no_linear_path_is_refused(weights, weight, message):
    network = KINDS["MultVAE"]()
    with pytest.raises(ValueError, match=message):
        network.with_linear_path(weights, weight)
