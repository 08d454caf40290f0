from __future__ import annotations

import keras
import numpy as np
import oracle
import pytest
from conftest import make_clicks
from scipy import sparse, special

from keras_multvae import GaussianNLL, LogisticNLL, MultinomialNLL
from keras_multvae.data.packing import pack
from keras_multvae.losses import LIKELIHOODS, get_likelihood

NAMES = list(LIKELIHOODS)


def tensors(batch):
    return {key: keras.ops.convert_to_tensor(value) for key, value in batch.items()}


def as_ragged(clicks):
    return tensors(pack(clicks, np.arange(clicks.shape[0])))


def call(loss, targets, logits):
    logits = keras.ops.convert_to_tensor(np.asarray(logits, "float32"))
    if not isinstance(targets, dict):
        targets = keras.ops.convert_to_tensor(np.asarray(targets, "float32"))
    return keras.ops.convert_to_numpy(loss.call(targets, logits))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["dense", "ragged"])
def test_equals_the_oracle(name, form):
    clicks = make_clicks(20, 15)
    logits = np.random.default_rng(1).normal(size=(20, 15), scale=3)
    targets = as_ragged(clicks) if form == "ragged" else clicks.toarray()
    expected = oracle.nll(name, clicks.toarray().astype("float64"), logits)
    np.testing.assert_allclose(
        call(get_likelihood(name), targets, logits), expected, rtol=2e-5, atol=1e-5
    )


def test_counts_weigh_the_multinomial():
    counts = sparse.csr_matrix([[3.0, 0, 1]])
    logits = np.array([[0.5, -1.0, 2.0]])
    expected = -(counts.toarray() * special.log_softmax(logits)).sum()
    for targets in (as_ragged(counts), counts.toarray()):
        np.testing.assert_allclose(
            call(MultinomialNLL(), targets, logits), [expected], rtol=1e-6
        )


def test_multinomial_of_a_uniform_guess_is_clicks_times_log_items():
    clicks = make_clicks(5, 50)
    expected = np.diff(clicks.indptr) * np.log(50)
    np.testing.assert_allclose(
        call(MultinomialNLL(), as_ragged(clicks), np.zeros((5, 50))), expected, rtol=1e-6
    )


def test_multinomial_does_not_change_with_a_shift_of_the_logits():
    clicks, logits = make_clicks(5, 50), np.random.default_rng(0).normal(size=(5, 50))
    a, b = (call(MultinomialNLL(), as_ragged(clicks), x) for x in (logits, logits + 7))
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_logistic_at_zero_is_log_two_an_item():
    value = call(LogisticNLL(), np.eye(3), np.zeros((3, 3)))
    np.testing.assert_allclose(value, 3 * np.log(2), rtol=1e-6)


def test_gaussian_at_the_clicks_is_zero():
    clicks = make_clicks(4, 9)
    values = call(GaussianNLL(), as_ragged(clicks), clicks.toarray())
    np.testing.assert_allclose(values, 0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_give_finite_values_and_gradients(name):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.layers[0].kernel.assign(np.eye(4) * 80)
    likelihood = get_likelihood(name)

    class OneStep(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = model

        def call(self, x):
            return self.inner(x)

        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            return keras.ops.mean(likelihood.call(y, y_pred))

    step = OneStep()
    step.compile(keras.optimizers.SGD(1e-3))
    # Inputs of both signs: a confident hit, a confident miss.
    loss = step.train_on_batch(-np.eye(4, dtype="float32"), np.eye(4))
    assert np.isfinite(loss)
    assert all(np.isfinite(w).all() for w in step.get_weights())


@pytest.mark.parametrize("name", NAMES)
def test_scores_rise_with_the_logits_and_are_what_the_docs_say(name):
    logits = np.array([[-3.0, 0.0, 2.0]], "float32")
    scores = get_likelihood(name).scores(keras.ops.convert_to_tensor(logits))
    scores = keras.ops.convert_to_numpy(scores)
    assert (np.diff(scores[0]) > 0).all()
    expected = {
        "multinomial": np.log(np.exp(logits) / np.exp(logits).sum()),
        "gaussian": logits,
        "logistic": np.log(1 / (1 + np.exp(-logits))),
    }[name]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_round_trips_through_its_config(name):
    loss = GaussianNLL(3.0, 0.5) if name == "gaussian" else get_likelihood(name)
    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="multinomial, gaussian, logistic"):
        get_likelihood("poisson")
    with pytest.raises(ValueError, match="`clicked_confidence` must be"):
        GaussianNLL(0.0)
    with pytest.raises(ValueError, match="entries_per_user, item_ids, values"):
        call(MultinomialNLL(), tensors({"ids": np.zeros(3)}), np.zeros((1, 3)))


@pytest.mark.parametrize("shift", [0.0, 60.0, 95.0, 1000.0, -60.0, -75.0, -1000.0])
def test_log_probabilities_of_large_and_small_logits(shift):
    """Beyond +-88 exp leaves float32's range."""
    logits = np.random.default_rng(0).normal(size=(3, 40)).astype("float32") + shift
    logits[1, :20] -= 300
    found = MultinomialNLL().scores(keras.ops.convert_to_tensor(logits))
    exact = logits.astype("float64")
    exact -= exact.max(1, keepdims=True)
    expected = exact - np.log(np.exp(exact).sum(1, keepdims=True))
    found = keras.ops.convert_to_numpy(found)
    np.testing.assert_allclose(
        found, expected, rtol=1e-5, atol=2e-7 * abs(shift) + 2e-6
    )
