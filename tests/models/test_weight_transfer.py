"""Going on with a catalogue that has grown."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import BetaAnneal, FusedAdam, MultDAE, MultVAE
from keras_multvae.data import UserBatches

OLD = make_clicks(40, 12)
# The same users after three more items came.
NEW = sparse.hstack([OLD, make_clicks(40, 3, 0.5, seed=5)]).tocsr()


def trained(kind, hidden=(6,)):
    model = kind(12, latent_dim=3, hidden_dims=hidden, seed=1)
    model.compile(keras.optimizers.Adam(1e-2))
    anneal = [BetaAnneal(0.3, 50)] if kind is MultVAE else []
    model.fit(UserBatches(OLD, 10, seed=1), epochs=5, callbacks=anneal, verbose=0)
    return model


def logits(model, clicks):
    return model.predict(UserBatches(clicks, 40), verbose=0)


@pytest.mark.parametrize("kind", [MultVAE, MultDAE])
@pytest.mark.parametrize("hidden", [(), (6,)])
def test_old_items_keep_their_logits_and_new_ones_get_the_mean(kind, hidden):
    model = trained(kind, hidden)
    grown = model.with_new_items(15)
    before = logits(model, OLD)
    after = logits(
        grown, sparse.csr_matrix((OLD.data, OLD.indices, OLD.indptr), (40, 15))
    )
    np.testing.assert_allclose(after[:, :12], before, atol=1e-6)
    mean = before.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(after[:, 12:], np.repeat(mean, 3, 1), atol=1e-6)
    for old, new in zip(model.weights, grown.weights, strict=True):
        kept = new.numpy()[tuple(slice(size) for size in old.shape)]
        np.testing.assert_array_equal(kept, old.numpy())


def test_a_new_click_says_what_the_average_click_says():
    model = trained(MultVAE, ())
    grown = model.with_new_items(13)
    kernel = model.encoder.kernel.numpy()
    np.testing.assert_allclose(
        grown.encoder.kernel.numpy()[12], kernel.mean(axis=0), atol=1e-6
    )


def test_optimiser_beta_and_noise_go_on():
    model = trained(MultVAE)
    grown = model.with_new_items(15)
    assert grown.batches_seen == model.batches_seen == 20
    assert float(grown.beta.current()) == float(model.beta.current()) > 0.29
    for old, new in zip(
        model.optimizer.variables, grown.optimizer.variables, strict=True
    ):
        old, new = old.numpy(), new.numpy()
        kept = tuple(slice(size) for size in old.shape)
        np.testing.assert_array_equal(new[kept], old)
        rest = np.array(new)
        rest[kept] = 0
        assert not rest.any()
    assert int(grown.optimizer.iterations) == 20


def test_without_new_items_training_goes_on_as_if_nothing_had_happened():
    model = trained(MultVAE)
    grown = model.with_new_items(12)
    histories = [
        each.fit(UserBatches(OLD, 10, seed=2), epochs=2, verbose=0).history
        for each in (model, grown)
    ]
    for name, values in histories[0].items():
        assert histories[1][name] == pytest.approx(values, rel=1e-5)
    np.testing.assert_allclose(grown.score(OLD), model.score(OLD), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        ({"dtype": "mixed_float16"}, lambda: FusedAdam(1e-2)),
        ({"dtype": "mixed_float16"}, lambda: keras.optimizers.Adam(1e-2)),
        ({}, lambda: keras.optimizers.LossScaleOptimizer(FusedAdam(1e-2))),
    ],
    ids=["half", "half with Keras' Adam", "scaled"],
)
def test_a_loss_scaler_grows_too(options, tmp_path):
    settings, optimizer = options
    model = MultVAE(12, 3, (6,), seed=1, **settings)
    model.compile(optimizer())
    model.fit(UserBatches(OLD, 10, seed=1), verbose=0)
    before = [np.array(each.numpy()) for each in model.optimizer.variables]
    grown = model.with_new_items(15)
    assert len(model.optimizer.variables) == len(before)
    for variable, value in zip(model.optimizer.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    for old, new in zip(before, grown.optimizer.variables, strict=True):
        kept = np.array(new.numpy())[tuple(slice(size) for size in old.shape)]
        np.testing.assert_array_equal(kept, old)
    assert int(grown.optimizer.inner_optimizer.iterations) == 4
    grown.fit(UserBatches(NEW, 10), verbose=0)
    model.fit(UserBatches(OLD, 10), verbose=0)
    grown.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.inner_optimizer.iterations) == 8


def test_a_model_that_did_not_train_yet_is_left_as_it_is():
    model = MultVAE(12, 3, (6,), seed=1)
    model.compile()
    before = len(model.optimizer.variables)
    grown = model.with_new_items(15)
    assert len(model.optimizer.variables) == before and not model.optimizer.built
    grown.fit(UserBatches(NEW, 10), verbose=0)


def test_training_goes_on_without_losing_what_was_learnt():
    model = trained(MultVAE)
    grown = model.with_new_items(15)

    def nll(each, clicks):
        return each.evaluate(UserBatches(clicks, 40), verbose=0, return_dict=True)[
            "nll"
        ]

    fresh = MultVAE(15, latent_dim=3, hidden_dims=(6,), seed=1)
    fresh.compile()
    assert nll(grown, NEW) < nll(fresh, NEW)
    before = nll(grown, NEW)
    grown.fit(UserBatches(NEW, 10), epochs=5, verbose=0)
    assert nll(grown, NEW) < before


def test_bad_input_is_named():
    model = MultVAE(12, latent_dim=3)
    with pytest.raises(ValueError, match=r"at least 12.*num_items=11"):
        model.with_new_items(11)
    # A model that was never compiled can grow as well.
    assert model.with_new_items(13).num_items == 13
