"""The network and its objective against the float64 oracle."""

from __future__ import annotations

import keras
import numpy as np
import oracle
import pytest
from conftest import make_clicks
from scipy import sparse, special

from keras_multvae import MultVAE, NDCGAtK, RecallAtK
from keras_multvae.data import UserBatches

ITEMS = 12


def make_model(**kwargs):
    options = {"latent_dim": 2, "hidden_dims": (4,), "seed": 1, **kwargs}
    return MultVAE(ITEMS, **options)


def dense_and_ragged(clicks):
    (batch,) = UserBatches(clicks, clicks.shape[0], shuffle=False)[0]
    return {"dense": clicks.toarray(), "ragged": batch}


@pytest.mark.parametrize("form", ["dense", "ragged"])
@pytest.mark.parametrize("hidden", [(), (4,), (6, 4)])
def test_logits_equal_the_oracle(clicks, form, hidden):
    model = make_model(hidden_dims=hidden)
    logits = model.predict_on_batch(dense_and_ragged(clicks)[form])
    expected, _, _ = oracle.forward(oracle.Weights.of(model), clicks.toarray())
    np.testing.assert_allclose(logits, expected, atol=2e-6)


@pytest.mark.parametrize("form", ["dense", "ragged"])
@pytest.mark.parametrize("likelihood", ["multinomial", "gaussian", "logistic"])
def test_loss_nll_and_kl_equal_the_oracle(clicks, form, likelihood):
    model = make_model(likelihood=likelihood, beta=0.3)
    model.compile()
    logs = model.test_on_batch(dense_and_ragged(clicks)[form], return_dict=True)
    x = clicks.toarray().astype("float64")
    f, mean, log_var = oracle.forward(oracle.Weights.of(model), x)
    nll, kl = oracle.nll(likelihood, x, f).mean(), oracle.kl(mean, log_var).mean()
    assert logs["nll"] == pytest.approx(nll, rel=1e-5)
    assert logs["kl"] == pytest.approx(kl, rel=1e-4)
    assert logs["loss"] == pytest.approx(nll + 0.3 * kl, rel=1e-5)


@pytest.mark.parametrize("form", ["dense", "ragged"])
@pytest.mark.parametrize("likelihood", ["multinomial", "gaussian", "logistic"])
def test_gradients_equal_finite_differences_of_the_oracle(form, likelihood):
    clicks = make_clicks(5, ITEMS)
    model = make_model(likelihood=likelihood, beta=0.3, dropout=0.0)
    # The gradient is what one step of plain descent at rate 1 takes away.
    model.compile(keras.optimizers.SGD(1.0))
    weights = oracle.Weights.of(model)
    before = [v.numpy() for v in model.trainable_variables]
    model.train_on_batch(dense_and_ragged(clicks)[form])
    after = [v.numpy() for v in model.trainable_variables]
    # The noise of the model's own seed, drawn a second time.
    eps = keras.random.normal(
        (5, 2), seed=keras.random.SeedGenerator(model.sampling.seed)
    )
    expected = oracle.gradients(
        weights,
        clicks.toarray().astype("float64"),
        beta=0.3,
        likelihood=likelihood,
        eps=keras.ops.convert_to_numpy(eps).astype("float64"),
    )
    scale = max(abs(g).max() for g in expected)
    for old, new, gradient in zip(before, after, expected, strict=True):
        np.testing.assert_allclose(old - new, gradient, atol=2e-5 * scale)


def test_dropout_in_training_is_that_of_the_oracle(clicks):
    model = make_model(dropout=0.5, beta=0.3)
    model.compile(keras.optimizers.SGD(0.0))
    weights = oracle.Weights.of(model)
    logs = model.train_on_batch(clicks.toarray(), return_dict=True)
    mask = keras.random.dropout(
        keras.ops.ones(clicks.shape),
        0.5,
        seed=keras.random.SeedGenerator(1000 * model.encoder.seed),
    )
    eps = keras.random.normal(
        (40, 2), seed=keras.random.SeedGenerator(model.sampling.seed)
    )
    to_numpy = keras.ops.convert_to_numpy
    x = clicks.toarray().astype("float64")
    expected = oracle.objective(weights, x, 0.3, eps=to_numpy(eps), mask=to_numpy(mask))
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_sample_weights_weigh_likelihood_and_kl_of_a_user_alike(clicks):
    model = make_model(beta=0.3)
    model.compile()
    weights = np.random.default_rng(0).random(40).astype("float32") * 2
    batches = UserBatches(clicks, 40, sample_weight=weights)
    logs = model.evaluate(batches, verbose=0, return_dict=True)
    x = clicks.toarray().astype("float64")
    f, mean, log_var = oracle.forward(oracle.Weights.of(model), x)
    kl = oracle.kl(mean, log_var)
    per_user = oracle.nll("multinomial", x, f) + 0.3 * kl
    assert logs["loss"] == pytest.approx((weights * per_user).mean(), rel=1e-5)
    assert logs["kl"] == pytest.approx((weights * kl).mean(), rel=1e-4)
    assert "ndcg_at_100" not in logs


def test_epoch_means_are_over_users_also_with_a_small_last_batch(clicks):
    model = make_model()
    model.compile()
    whole = model.evaluate(UserBatches(clicks, 40), verbose=0, return_dict=True)
    parts = model.evaluate(UserBatches(clicks, 7), verbose=0, return_dict=True)
    assert parts == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("form", ["dense", "ragged"])
def test_ranking_metrics_in_evaluate_equal_the_oracle(clicks, form):
    targets = make_clicks(40, ITEMS, seed=9)
    targets = targets - targets.multiply(clicks)
    model = make_model()
    model.compile(metrics=[RecallAtK(3), NDCGAtK(100)])
    data = (
        (clicks.toarray(), targets.toarray())
        if form == "dense"
        else (UserBatches(clicks, 11, targets=targets),)
    )
    logs = model.evaluate(*data, verbose=0, return_dict=True)
    scores = model.predict(clicks.toarray(), verbose=0)
    seen, wanted = clicks.toarray() > 0, targets.toarray() > 0
    recall, _ = oracle.ranking_metrics(scores, seen, wanted, 3)
    _, ndcg = oracle.ranking_metrics(scores, seen, wanted, 100)
    assert logs["recall_at_3"] == pytest.approx(recall.mean(), rel=1e-5)
    assert logs["ndcg_at_100"] == pytest.approx(ndcg.mean(), rel=1e-5)


def test_score_is_the_log_softmax_of_the_logits(clicks):
    model = make_model()
    logits = model.predict(UserBatches(clicks, 9), verbose=0)
    np.testing.assert_allclose(
        model.score(clicks, batch_size=7), special.log_softmax(logits, 1), atol=1e-5
    )
    assert np.isfinite(model.score(clicks)).all()
    assert model.score(clicks[:0]).shape == (0, ITEMS)


def test_predict_keeps_the_order_of_users_whatever_the_batches(clicks):
    model = make_model()
    shuffled = model.predict(UserBatches(clicks, 7, shuffle=True), verbose=0)
    np.testing.assert_allclose(
        shuffled, model.predict(clicks.toarray(), verbose=0), atol=1e-6
    )


def test_embed_gives_mean_and_variance_of_the_posterior(clicks):
    model = make_model()
    mean, variance = model.embed(clicks, batch_size=9)
    _, expected, log_var = oracle.forward(
        oracle.Weights.of(model), clicks.toarray().astype("float64")
    )
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    np.testing.assert_allclose(variance, np.exp(log_var), rtol=1e-5)


def test_predictions_do_not_vary_and_item_vectors_are_the_decoders(clicks):
    model = make_model()
    np.testing.assert_array_equal(model.score(clicks), model.score(clicks))
    assert model.item_vectors.shape == (ITEMS, 4)


def test_training_learns_two_groups_of_taste():
    """A checkerboard: even users like even items; each misses one of its own."""
    rng = np.random.default_rng(0)
    rows = np.zeros((200, 20), "float32")
    rows[::2, ::2] = rows[1::2, 1::2] = 1
    left_out = 2 * rng.integers(0, 10, 200) + np.arange(200) % 2
    rows[np.arange(200), left_out] = 0
    model = MultVAE(20, 4, (16,), seed=1)
    model.compile(keras.optimizers.Adam(1e-2))
    clicks = sparse.csr_matrix(rows)
    model.fit(UserBatches(clicks, 20), epochs=15, verbose=0)
    scores = model.score(clicks)
    scores[rows > 0] = -np.inf
    assert (scores.argmax(1) == left_out).mean() > 0.95


def test_bad_arguments_and_inputs_are_named():
    for kwargs, text in (
        ({"latent_dim": 0}, "latent_dim"),
        ({"hidden_dims": (4, -1)}, "hidden_dims"),
        ({"dropout": 1.0}, "dropout"),
        ({"likelihood": "normal"}, "likelihood"),
        ({"beta": -0.1}, "beta"),
    ):
        with pytest.raises(ValueError, match=text):
            make_model(**kwargs)
    with pytest.raises(ValueError, match="num_items"):
        MultVAE(0)
    model = make_model()
    with pytest.raises(ValueError, match="rows of 12 items"):
        model.predict(np.zeros((2, 5), "float32"), verbose=0)
    with pytest.raises(ValueError, match="12 items"):
        model.score(make_clicks(3, 9))
    model.compile()
    good, bad = (UserBatches(make_clicks(8, items), 4) for items in (12, 13))
    for use in (
        lambda: model.fit(bad, verbose=0),
        lambda: model.fit(good, validation_data=bad, verbose=0),
        lambda: model.evaluate(bad, verbose=0),
        lambda: model.predict(bad, verbose=0),
    ):
        with pytest.raises(ValueError, match="rows of 12 items"):
            use()
    with pytest.raises(ValueError, match="likelihood"):
        model.compile(loss="mse")
    with pytest.raises(ValueError, match="called on the same batch first"):
        model.compute_loss(np.zeros((2, 12)), None, np.zeros((2, 12)))
