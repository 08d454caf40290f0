"""Mult-DAE against the float64 oracle."""

from __future__ import annotations

import keras
import numpy as np
import oracle
import pytest
from conftest import make_clicks

from keras_multvae import BetaAnneal, MultDAE
from keras_multvae.data import UserBatches

ITEMS = 12


def make_model(**kwargs):
    options = {"latent_dim": 3, "l2": 0.01, "dropout": 0.0, "seed": 1, **kwargs}
    return MultDAE(ITEMS, **options)


def batches(clicks, form):
    return (
        clicks.toarray()
        if form == "dense"
        else UserBatches(clicks, 100, shuffle=False)[0][0]
    )


def objective(weights, x, l2):
    nll = oracle.nll("multinomial", x, oracle.forward_dae(weights, x)).mean()
    kernels = [kernel for kernel, _ in (*weights.encoder, *weights.decoder)]
    return nll + l2 * sum((kernel**2).sum() for kernel in kernels)


@pytest.mark.parametrize("form", ["dense", "ragged"])
@pytest.mark.parametrize("hidden", [(), (6, 4)])
def test_logits_equal_the_oracle(clicks, form, hidden):
    model = make_model(hidden_dims=hidden)
    logits = model.predict_on_batch(batches(clicks, form))
    expected = oracle.forward_dae(oracle.Weights.of(model), clicks.toarray())
    np.testing.assert_allclose(logits, expected, atol=2e-6)


@pytest.mark.parametrize("hidden", [(), (6, 4)])
def test_the_loss_has_l2_of_kernels_and_not_of_biases(clicks, hidden):
    model = make_model(hidden_dims=hidden)
    model.compile()
    for variable in model.trainable_variables:
        if variable.path.endswith("bias"):
            variable.assign(variable + 3.0)
    logs = model.test_on_batch(batches(clicks, "ragged"), return_dict=True)
    x = clicks.toarray().astype("float64")
    weights = oracle.Weights.of(model)
    assert logs["nll"] == pytest.approx(objective(weights, x, 0.0), rel=1e-5)
    assert logs["loss"] == pytest.approx(objective(weights, x, 0.01), rel=1e-5)
    assert logs["loss"] > logs["nll"] + 1e-3


def test_gradients_equal_finite_differences_of_the_oracle():
    clicks = make_clicks(5, ITEMS)
    model = make_model()
    model.compile(keras.optimizers.SGD(1.0))
    weights = oracle.Weights.of(model)
    before = [v.numpy() for v in model.trainable_variables]
    model.train_on_batch(batches(clicks, "ragged"))
    x = clicks.toarray().astype("float64")
    expected = oracle.differences(weights, lambda: objective(weights, x, 0.01))
    for variable, old, gradient in zip(
        model.trainable_variables, before, expected, strict=True
    ):
        np.testing.assert_allclose(old - variable.numpy(), gradient, atol=2e-5)


def test_nothing_is_sampled_in_training(clicks):
    model = make_model()
    inputs = clicks.toarray()
    once, again = (
        keras.ops.convert_to_numpy(model(inputs, training=True)) for _ in range(2)
    )
    np.testing.assert_array_equal(once, again)
    np.testing.assert_allclose(once, model.predict_on_batch(inputs), atol=1e-6)


def test_it_learns_is_saved_and_has_no_beta(tmp_path, clicks):
    model = make_model(dropout=0.3, hidden_dims=(5,))
    model.compile()
    history = model.fit(UserBatches(clicks, 10), epochs=10, verbose=0).history
    assert set(history) == {"loss", "nll"}
    assert history["nll"][-1] < history["nll"][0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.score(clicks), model.score(clicks))
    with pytest.raises(TypeError, match="BetaAnneal moves the beta of a MultVAE"):
        model.fit(UserBatches(clicks, 10), callbacks=[BetaAnneal()], verbose=0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"`l2` must be .* l2=-1"):
        make_model(l2=-1)
    with pytest.raises(ValueError, match=r"`hidden_dims` must be .*=\(0,\)"):
        make_model(hidden_dims=(0,))
