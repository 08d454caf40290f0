"""RecVAE against the float64 oracle; whose turn it is, to the bit."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import oracle_recvae as oracle
import pytest
from conftest import make_clicks
from scipy import sparse, special

from keras_multvae import (
    AlternatingAdam,
    BetaAnneal,
    FusedAdam,
    Recipe,
    RecVAE,
    evaluate_ranking,
    train,
)
from keras_multvae.abilities import Embeds, HasBeta, HasItemVectors, PadsItems, can
from keras_multvae.data import Interactions, UserBatches, strong_generalization
from keras_multvae.distribution import _copy
from keras_multvae.layers import CompositePrior

ITEMS = 12
TORCH = keras.backend.backend() == "torch"
# Where a test is not about the compiled step, TensorFlow need not spend seconds on it.
QUICK = {"run_eagerly": keras.backend.backend() == "tensorflow"}
to_numpy = keras.ops.convert_to_numpy


def make_model(**kwargs):
    options = {"latent_dim": 3, "width": 5, "gamma": 0.02, "seed": 1, **kwargs}
    model = RecVAE(ITEMS, **options)
    # Else the old encoder, norms and most biases would have nothing to say.
    rng = np.random.default_rng(2)
    for variable in (*model.old_encoder.weights, *model.encoder.weights):
        noise = rng.normal(0, 0.2, variable.shape)
        variable.assign(to_numpy(variable) + noise.astype("float32"))
    return model


def dense_and_ragged(clicks):
    (batch,) = UserBatches(clicks, clicks.shape[0], shuffle=False)[0]
    return {"dense": clicks.toarray(), "ragged": batch}


def parts(model):
    """Encoder, old encoder and decoder of a model, for the oracle."""
    decoder = [v.numpy().astype("float64") for v in model.decoder.weights]
    encoders = (model.encoder, model.old_encoder)
    return *map(oracle.Encoder.of, encoders), decoder


@pytest.mark.parametrize("form", ["dense", "ragged"])
def test_logits_and_losses_equal_the_oracle(clicks, form):
    model = make_model()
    model.compile()
    batch = dense_and_ragged(clicks)[form]
    x = clicks.toarray().astype("float64")
    nll, kl, logits = oracle.terms(*parts(model), x)
    np.testing.assert_allclose(model.predict_on_batch(batch), logits, atol=1e-5)
    logs = model.test_on_batch(batch, return_dict=True)
    assert logs["nll"] == pytest.approx(nll.mean(), rel=1e-5)
    assert logs["kl"] == pytest.approx(kl.mean(), rel=1e-4)
    expected = oracle.objective(*parts(model), x, 0.02)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["loss"] != pytest.approx(logs["nll"], rel=1e-3)


def test_the_prior_is_the_oracles(clicks):
    rng = np.random.default_rng(0)
    mean, log_var, z, old, old_log_var = rng.normal(0, 2, (5, 40, 3))
    inputs = [each.astype("float32") for each in (mean, log_var, z, old, old_log_var)]
    expected = oracle.kl(z, mean, log_var, old, old_log_var)
    np.testing.assert_allclose(to_numpy(CompositePrior()(inputs)), expected, rtol=1e-4)
    # Far from all components a density underflows; its logarithm does not.
    far = CompositePrior().log_density(
        *(keras.ops.full((1, 1), v, "float32") for v in (1e4, 0.0, 0.0))
    )
    wide = np.log(0.1) + oracle.log_normal(1e4, 0, np.exp(10))
    assert to_numpy(far)[0] == pytest.approx(wide, rel=1e-5)


def check_logs(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-5, err_msg=name)


def noise_of(model, users):
    """The noise that the model's own seed will draw, and what dropout multiplies."""
    eps = keras.random.normal(
        (users, 3), seed=keras.random.SeedGenerator(model.sampling.seed)
    )
    mask = keras.random.dropout(
        keras.ops.ones((users, ITEMS)),
        model.dropout,
        seed=keras.random.SeedGenerator(1000 * model.encoder.seed),
    )
    return [to_numpy(each).astype("float64") for each in (eps, mask)]


def test_gradients_equal_finite_differences_of_the_oracle():
    model = make_model()
    model.compile()
    x = make_clicks(6, ITEMS).toarray()
    eps, mask = noise_of(model, 6)
    encoder, old, decoder = parts(model)
    logs = model.train_on_batch(x, return_dict=True)
    x = x.astype("float64")

    def value():
        return oracle.objective(encoder, old, decoder, x, 0.02, eps, mask)

    assert logs["loss"] == pytest.approx(value(), rel=1e-5)
    weights = [array for pair in (*encoder.layers, *encoder.norms) for array in pair]
    # After one step, Adam's first moment is a tenth of the gradient.
    momentums = model.optimizer._momentums
    assert len(momentums) == len(weights) + 2
    for array, momentum in zip(weights, momentums[:-2], strict=True):
        expected = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            before = array[index]
            array[index] = before + 1e-5
            up = value()
            array[index] = before - 1e-5
            expected[index] = (up - value()) / 2e-5
            array[index] = before
        np.testing.assert_allclose(10 * to_numpy(momentum), expected, atol=2e-5)
    assert not any(to_numpy(each).any() for each in momentums[-2:])


def test_where_the_decoder_trains_nothing_is_dropped_but_z_is_drawn(clicks):
    model = make_model(encoder_passes=1, dropout=0.9)
    model.compile(AlternatingAdam(0.0))
    x = clicks.toarray()
    model.train_on_batch(x)
    model.reset_metrics()
    eps = keras.random.SeedGenerator(model.sampling.seed)
    keras.random.normal((40, 3), seed=eps)
    eps = to_numpy(keras.random.normal((40, 3), seed=eps)).astype("float64")
    logs = model.train_on_batch(x, return_dict=True)
    encoder, _, decoder = parts(model)
    # The old encoder is the encoder by now.
    args = (encoder, encoder, decoder, x.astype("float64"), 0.02, eps)
    assert logs["loss"] == pytest.approx(oracle.objective(*args), rel=1e-5)


class Snapshots(keras.callbacks.Callback):
    """Everything that training may move, after every epoch."""

    def __init__(self):
        super().__init__()
        self.taken = []

    def take(self):
        model, optimizer = self.model, self.model.optimizer
        count = len(model.encoder.trainable_variables)
        state = {
            "encoder": model.encoder.trainable_variables,
            "decoder": model.decoder.trainable_variables,
            "old": model.old_encoder.weights,
        }
        for half, which in enumerate([slice(count), slice(count, None)]):
            name = ["encoder", "decoder"][half]
            state[f"{name} moments"] = [
                *optimizer._momentums[which],
                *optimizer._velocities[which],
            ]
            state[f"{name} steps"] = [optimizer.half_steps[half]]
        self.taken.append(
            {key: [np.array(to_numpy(v)) for v in each] for key, each in state.items()}
        )

    def on_train_begin(self, logs=None):
        self.take()

    def on_epoch_end(self, epoch, logs=None):
        self.take()


def same(one, other):
    return all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("steps", [1, 3])
def test_in_each_pass_one_half_moves_and_the_other_stands_still(clicks, steps):
    if TORCH and steps > 1:
        pytest.skip("Keras on PyTorch takes one step an execution")
    model, snapshots = make_model(encoder_passes=2), Snapshots()
    model.compile(steps_per_execution=steps)
    batches = UserBatches(clicks, 15)  # three a pass
    options = {"verbose": 0, "callbacks": snapshots}
    model.fit(batches, epochs=4, **options)
    model.fit(batches, epochs=3, **options)  # goes on in the middle of a turn
    taken = snapshots.taken
    del taken[5]  # as the one before: the begin of the second fit
    assert len(taken) == 8
    for number, (before, after) in enumerate(itertools.pairwise(taken)):
        turn = ["encoder", "encoder", "decoder"][number % 3]
        rest = "decoder" if turn == "encoder" else "encoder"
        for key in (rest, f"{rest} moments", f"{rest} steps"):
            assert same(before[key], after[key]), (number, key)
        for key in (turn, f"{turn} moments"):
            moved = [
                (a != b).any() for a, b in zip(before[key], after[key], strict=True)
            ]
            assert all(moved), (number, key)
        assert after[f"{turn} steps"][0] == before[f"{turn} steps"][0] + 3
        # What the old encoder is, it became when the encoder's last turn ended.
        if turn == "decoder":
            assert same(after["old"], after["encoder"])
        else:
            assert same(after["old"], before["old"])
    assert int(model.optimizer.iterations) == 21
    assert model.turns.passes == 7


def test_each_half_has_the_steps_of_an_adam_of_its_own():
    start = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    gradients = np.random.default_rng(1).normal(size=(9, 2, 4, 3)).astype("float32")
    variables = [keras.Variable(each) for each in start]
    optimizer = AlternatingAdam(0.1)
    optimizer.alternate(
        RecVAE(3, 2, 2, encoder_passes=2).turns.alternation, variables[:1]
    )
    for each in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in each], variables)
    for half, turns in enumerate([[0, 1, 3, 4, 6, 7], [2, 5, 8]]):
        alone, other = keras.Variable(start[half]), FusedAdam(0.1, epsilon=1e-8)
        for turn in turns:
            gradient = keras.ops.convert_to_tensor(gradients[turn][half])
            other.apply([gradient], [alone])
        np.testing.assert_allclose(
            to_numpy(variables[half]), to_numpy(alone), rtol=1e-5, atol=1e-6
        )


def test_a_saved_model_goes_on_in_the_middle_of_a_turn(tmp_path, clicks):
    model = make_model(encoder_passes=2)
    model.compile()
    batches = UserBatches(clicks, 20, seed=3)
    model.fit(batches, epochs=4, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    assert type(loaded.optimizer) is AlternatingAdam
    found = []
    for each in (model, loaded):
        batches.epoch = 4
        history = each.fit(batches, epochs=3, verbose=0).history
        found.append((history, each.get_weights(), each.score(clicks)))
    check_logs(found[1][0], found[0][0])
    for one, other in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_another_optimiser_takes_the_turn_over(clicks):
    """The model's count is the one that counts, also for a new optimiser."""
    model, snapshots = make_model(encoder_passes=1), Snapshots()
    model.compile(**QUICK)
    model.fit(UserBatches(clicks, 20), verbose=0)
    model.compile(AlternatingAdam(1e-2), **QUICK)
    model.fit(UserBatches(clicks, 20), verbose=0, callbacks=[snapshots])
    before, after = snapshots.taken
    assert same(before["encoder"], after["encoder"])
    assert not same(before["decoder"], after["decoder"])


TASTE = (np.arange(60)[:, None] + np.arange(16)) % 2 == 0
USERS, LIKED = np.nonzero(TASTE & (np.random.default_rng(0).random((60, 16)) < 0.7))
SPLIT = strong_generalization(Interactions.from_events(USERS, LIKED), 15, 0)
RECIPE = Recipe(
    RecVAE.Config(latent_dim=4, width=8, encoder_passes=2),
    epochs=6,
    batch_size=15,
    learning_rate=1e-2,
)


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 4:
            raise KeyboardInterrupt


def test_a_recipe_trains_it_and_resumes_as_if_it_had_never_stopped(tmp_path):
    _, expected = train(SPLIT, RECIPE, tmp_path / "whole")
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        train(SPLIT, RECIPE, state, save_every=0.0, callbacks=[Kill()])
    model, history = train(SPLIT, RECIPE, state, resume=True)
    assert len(history) == 6
    for row, wanted in zip(history, expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-5)
    best = max(row["val_ndcg_at_100"] for row in expected)
    found = evaluate_ranking(model, SPLIT.validation).mean("ndcg@100")
    assert found == pytest.approx(best, abs=1e-5)


def test_the_recipes_learning_rate_reaches_its_optimiser():
    optimizer = Recipe("RecVAE", learning_rate=2e-3).build(ITEMS).optimizer
    assert type(optimizer) is AlternatingAdam
    assert float(optimizer.learning_rate) == pytest.approx(2e-3)
    model = make_model()
    model.compile()
    assert float(model.optimizer.learning_rate) == pytest.approx(5e-4)
    assert model.optimizer.epsilon == 1e-8


def test_what_it_can_do_and_that_it_has_no_beta(clicks):
    model = make_model()
    assert all(can(model, each) for each in (Embeds, HasItemVectors, PadsItems))
    assert not can(model, HasBeta)
    model.compile()
    with pytest.raises(TypeError, match="BetaAnneal moves the beta"):
        model.fit(UserBatches(clicks, 20), callbacks=BetaAnneal(), verbose=0)
    mean, variance = model.embed(clicks, batch_size=9)
    expected, log_var = parts(model)[0](clicks.toarray().astype("float64"))
    np.testing.assert_allclose(mean, expected, atol=5e-6)
    np.testing.assert_allclose(variance, np.exp(log_var), rtol=1e-4)
    logits = model.query_vectors(clicks) @ model.item_vectors.T + model.item_biases
    np.testing.assert_allclose(
        model.score(clicks), special.log_softmax(logits, 1), atol=1e-5
    )


def trained(clicks):
    model = make_model(encoder_passes=1)
    model.compile(**QUICK)
    model.fit(UserBatches(clicks, 20), epochs=3, verbose=0)
    return model


def test_with_new_items_training_goes_on(clicks):
    model = trained(clicks)
    grown = model.with_new_items(15)
    for old, new in zip(
        (*model.weights, *model.optimizer.variables),
        (*grown.weights, *grown.optimizer.variables),
        strict=True,
    ):
        kept = new.numpy()[tuple(slice(size) for size in old.shape)]
        np.testing.assert_array_equal(kept, old.numpy())
    assert grown.old_encoder.kernel.shape == (15, 5)
    wider = sparse.hstack([clicks, make_clicks(40, 3, 0.5)]).tocsr()
    grown.fit(UserBatches(wider, 20), epochs=2, verbose=0)
    assert grown.turns.passes == 5
    assert [int(each.numpy()) for each in grown.optimizer.half_steps] == [6, 4]


def test_fillers_change_neither_loss_nor_training(clicks):
    """What `shard` adds where the items do not divide by the parts."""
    plain = trained(clicks)
    filled = _copy(plain, 3)
    batches = UserBatches(clicks, 20)
    found, expected = (
        model.fit(batches, epochs=2, verbose=0).history
        for model in (filled, plain)
        if setattr(batches, "epoch", 0) is None
    )
    check_logs(found, expected)
    back = _copy(filled, -3)
    for one, other in zip(back.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_setting_trainable_leaves_the_old_encoder_frozen(clicks):
    model = make_model()
    trainable = len(model.trainable_variables)
    model.trainable = False
    model.trainable = True
    assert len(model.trainable_variables) == trainable
    assert trainable == len(model.encoder.weights) + 2


def test_products_in_bfloat16_train(clicks):
    model = RecVAE(ITEMS, 3, 5, encoder_passes=1, dtype="mixed_bfloat16", seed=1)
    model.compile()
    history = model.fit(UserBatches(clicks, 20), epochs=2, verbose=0).history
    assert np.isfinite([*history["loss"], *history["kl"]]).all()
    assert np.isfinite(model.score(clicks)).all()
    # The old encoder is the encoder, not what is left of it in 16 bits.
    for old, new in zip(model.old_encoder.weights, model.encoder.weights, strict=True):
        assert str(new.dtype) == "float32"
        np.testing.assert_array_equal(old.numpy(), new.numpy())


def test_users_without_clicks_and_counts_are_taken(clicks):
    counts = clicks.copy()
    counts.data[:] = np.random.default_rng(0).integers(1, 5, counts.nnz)
    model = make_model()
    model.compile()
    logs = model.test_on_batch(dense_and_ragged(counts)["ragged"], return_dict=True)
    x = counts.toarray().astype("float64")
    assert logs["loss"] == pytest.approx(
        oracle.objective(*parts(model), x, 0.02), rel=1e-5
    )


def test_bad_use_is_named(clicks):
    with pytest.raises(ValueError, match=r"`gamma` must be .* gamma=-1"):
        RecVAE(ITEMS, gamma=-1)
    with pytest.raises(ValueError, match="`encoder_passes` must be"):
        RecVAE(ITEMS, encoder_passes=0)
    with pytest.raises(ValueError, match="three positive numbers of sum 1"):
        CompositePrior((0.5, 0.5, 0.5))
    model = make_model()
    with pytest.raises(ValueError, match="trained by an AlternatingAdam"):
        model.compile("adam")
    with pytest.raises(ValueError, match="other models take FusedAdam"):
        AlternatingAdam().build([keras.Variable(np.zeros(2))])
    model.compile()

    def endless():
        while True:
            yield (clicks.toarray(),)

    with pytest.raises(ValueError, match="how many batches an epoch has"):
        model.fit(endless(), shuffle=False, verbose=0)
    model.fit(endless(), steps_per_epoch=2, shuffle=False, verbose=0)
    assert model.turns.passes == 1
