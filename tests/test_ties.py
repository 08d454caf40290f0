"""Equal scores: by item index on every backend, in the metrics as in the ranking."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import MultDAE, MultVAE, NDCGAtK, RecallAtK, backend
from keras_multvae.data import FoldIn, Interactions, UserBatches
from keras_multvae.evaluation import evaluate_ranking
from keras_multvae.ranking import top_k


def both(scores, k):
    """The ranking on the backend and that of `top_k`."""
    tensor = keras.ops.convert_to_tensor(scores)
    values, indices = map(keras.ops.convert_to_numpy, backend.top_k(tensor, k))
    return (values, indices), top_k(scores, k)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
def test_equal_scores_come_by_their_index(levels, k):
    rng = np.random.default_rng(levels)
    scores = rng.integers(-(levels // 2), levels, (30, 40)).astype("float32")
    scores[0] = 0
    scores[1, ::2] = -1e30
    (values, indices), expected = both(scores, k)
    np.testing.assert_array_equal(indices, expected.indices)
    np.testing.assert_array_equal(values, expected.scores)


def test_minus_zero_is_zero():
    scores = np.array([[-0.0, 0.0, -1.0, 0.0, -0.0]] * 2, "float32")
    (_, indices), _ = both(scores, 3)
    assert indices.tolist() == [[0, 1, 3]] * 2


def test_a_metric_of_equal_scores():
    metric = NDCGAtK(2)
    targets = np.zeros((50, 300), "float32")
    targets[:, 0] = 1
    metric.update_state(targets, np.zeros((50, 300), "float32"))
    assert float(metric.result()) == 1


def fold_in(clicks, items):
    """Users with half of their clicks; more items than those are clicked on."""
    wide = sparse.csr_matrix(
        (clicks.data, clicks.indices, clicks.indptr), (clicks.shape[0], items)
    )
    shown = sparse.csr_matrix(np.random.default_rng(3).random(wide.shape) < 0.5)
    inputs = wide.multiply(shown).tocsr()
    return FoldIn(*map(Interactions.from_matrix, (inputs, wide - inputs)))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("likelihood", ["multinomial", "logistic", "gaussian"])
@pytest.mark.parametrize("kind", [MultVAE, MultDAE])
def test_evaluate_agrees_with_evaluate_ranking(kind, likelihood, policy):
    clicks = make_clicks(60, 30, 0.3)
    model = kind(30, 3, (), likelihood=likelihood, seed=1, dtype=policy)
    model.compile(metrics=[RecallAtK(3), NDCGAtK(3), NDCGAtK(100)])
    model.fit(UserBatches(clicks, 20), verbose=0)
    # What a model has not learnt yet, and many items of one score.
    for each, items in ((model, 30), (model.with_new_items(80), 80)):
        part = fold_in(clicks, items)
        logs = each.evaluate(part, batch_size=60, verbose=0, return_dict=True)
        report = evaluate_ranking(each, part, ["recall@3", "ndcg@3", "ndcg@100"])
        for name in ("recall@3", "ndcg@3", "ndcg@100"):
            found = logs[name.replace("@", "_at_")]
            assert report.mean(name) == pytest.approx(found, abs=1e-6), name


def test_a_grown_model_ranks_equal_items_by_their_index():
    """PyTorch's own top_k gave NDCG@3 = 0 where JAX and TensorFlow gave 1."""
    model = MultDAE(4, 2, seed=0)
    model.compile(metrics=[NDCGAtK(3)])
    for weight in model.weights:
        weight.assign(0 * weight)
    grown = model.with_new_items(300)
    targets = sparse.csr_matrix((50, 300), dtype="float32").tolil()
    inputs = targets.copy()
    inputs[:, 299] = 1
    targets[:, 0] = 1
    part = FoldIn(*map(Interactions.from_matrix, (inputs, targets)))
    assert grown.evaluate(part, verbose=0, return_dict=True)["ndcg_at_3"] == 1
    assert evaluate_ranking(grown, part, ["ndcg@3"]).mean("ndcg@3") == 1
