"""Scores without `predict`: the same numbers, from the weights of the moment."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import make_clicks
from ranking.by_sorting import assert_ranked, lexsorted

from keras_multvae import MultDAE, MultVAE, backend
from keras_multvae.data import UserBatches
from keras_multvae.models.scoring import score_itemsize
from keras_multvae.ranking import rank

CLICKS = make_clicks(40, 12)


def predicted(model):
    """Scores by way of `predict`."""
    logits = model.predict(UserBatches(CLICKS, 40, shuffle=False), verbose=0)
    scores = model.likelihood.scores(keras.ops.convert_to_tensor(logits))
    return keras.ops.convert_to_numpy(scores)


def assert_current(model):
    np.testing.assert_allclose(model.score(CLICKS), predicted(model), atol=1e-5)


@pytest.mark.parametrize("kind", [MultVAE, MultDAE])
@pytest.mark.parametrize("likelihood", ["multinomial", "gaussian", "logistic"])
def test_scores_are_those_of_predict(kind, likelihood):
    assert_current(kind(12, 3, (6,), likelihood=likelihood, seed=0))


def test_new_weights_count_at_once():
    model = MultVAE(12, 3, (6,), seed=0)
    before = model.score(CLICKS)
    model.compile(keras.optimizers.Adam(0.1))
    model.fit(UserBatches(CLICKS, 20), verbose=0)
    assert np.abs(model.score(CLICKS) - before).max() > 1e-3
    assert_current(model)
    model.set_weights([2 * weight for weight in model.get_weights()])
    assert_current(model)


def test_new_variables_count_at_once():
    model = MultVAE(12, 3, (6,), seed=0)
    before = model.score(CLICKS)
    last = model.decoder.stack[-1]
    last.enable_lora(2)
    last.lora_kernel_b.assign(np.ones((2, 12), "float32") * np.arange(12))
    after = model.score(CLICKS)
    assert np.abs(after - before).max() > 1e-3
    assert_current(model)


def test_a_smaller_last_batch_and_users_without_clicks():
    model = MultVAE(12, 3, (6,), seed=0)
    whole = model.score(CLICKS)
    np.testing.assert_allclose(model.score(CLICKS, batch_size=7), whole, atol=1e-6)
    values, constants = model.unnormalized_scores(CLICKS[:3], pad_to=8)
    assert values.shape == (3, 12) and constants.shape == (3,)
    np.testing.assert_allclose(values - constants[:, None], whole[:3], atol=1e-6)
    assert model.score(CLICKS[:0]).shape == (0, 12)


def test_scores_are_float32_from_16_bits_too():
    model = MultVAE(12, 3, (6,), seed=0, dtype="mixed_bfloat16")
    scores = model.score(CLICKS)
    assert scores.dtype == "float32"
    np.testing.assert_allclose(np.exp(scores.astype("float64")).sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(scores, predicted(model), atol=1e-2)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("likelihood", ["multinomial", "gaussian", "logistic"])
def test_16_bit_logits_rank_as_their_float32_copies(likelihood, tied):
    options = {"likelihood": likelihood, "tied": tied, "seed": 0}
    model = MultVAE(12, 3, (6,), dtype="mixed_bfloat16", **options)
    values, constants = model.unnormalized_scores(CLICKS)
    narrow = backend.ROUNDS_EACH_RESULT and likelihood != "logistic"
    assert values.itemsize == score_itemsize(model) == (2 if narrow else 4)
    assert constants.dtype == "float32"
    scores = model.score(CLICKS)
    for rows, top in rank(model, CLICKS, 5, batch_size=40):
        assert_ranked(top, lexsorted(scores[rows], 5, CLICKS[rows].toarray() > 0))


def test_bad_values_are_named():
    model = MultVAE(12, 3, (6,), seed=0)
    bad = CLICKS.copy()
    bad.data[5] = -1
    with pytest.raises(ValueError, match=r"finite and >= 0.*-1\.0"):
        model.score(bad)
    with pytest.raises(ValueError, match="rows of 12 items"):
        model.score(make_clicks(0, 9))
