"""beta at every optimiser step, recovered from the compiled steps themselves."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import make_clicks

from keras_multvae import (
    BetaAnneal,
    ConstantBeta,
    CyclicalBeta,
    FreezeBeta,
    LinearBeta,
    MultDAE,
    MultVAE,
)
from keras_multvae.data import UserBatches

TORCH = keras.backend.backend() == "torch"


def make_model(optimizer=None, **compile_options):
    model = MultVAE(12, 3, (6,), dropout=0.0, seed=1)
    # An optimiser that moves nothing: the KL stays the same from step to step.
    model.compile(optimizer or keras.optimizers.SGD(0.0), **compile_options)
    return model


class Logs(keras.callbacks.Callback):
    """The logs of every batch."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append({key: float(value) for key, value in logs.items()})


def recovered(logs):
    """beta from (loss - nll) / kl; of a KL that is small against the loss."""
    return [(log["loss"] - log["nll"]) / log["kl"] for log in logs]


def one_batch():
    """An epoch of one step, so that logs are that step's and not a running mean."""
    return UserBatches(make_clicks(8, 12), batch_size=8)


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(
    "schedule",
    [LinearBeta(0.9, 10), ConstantBeta(0.7), CyclicalBeta(0.8, 6), LinearBeta(0.3, 0)],
)
def test_every_step_has_the_beta_of_its_schedule(schedule, eager):
    if eager and not isinstance(schedule, LinearBeta):
        pytest.skip("one schedule is enough for eager steps")
    model, logs = make_model(run_eagerly=eager), Logs()
    # A KL large enough for the difference of two float32 losses.
    model.encoder.stack[-1].bias.assign(np.full(6, 2.0))
    history = model.fit(
        one_batch(),
        epochs=13,
        verbose=0,
        callbacks=[BetaAnneal(schedule=schedule), logs],
    )
    expected = [schedule(t) for t in range(13)]
    np.testing.assert_allclose(recovered(logs.batches), expected, atol=2e-5)
    np.testing.assert_allclose(history.history["beta"], expected, rtol=1e-6)
    assert recovered(logs.batches)[0] == schedule(0) or schedule(0) > 0


@pytest.mark.skipif(TORCH, reason="Keras on PyTorch takes one step an execution")
@pytest.mark.parametrize("steps", [2, 4, 7])
def test_steps_per_execution_do_not_matter(steps):
    model, logs = make_model(steps_per_execution=steps), Logs()
    model.encoder.stack[-1].bias.assign(np.full(6, 2.0))
    batches = UserBatches(make_clicks(40, 12), batch_size=4, shuffle=False)
    model.fit(batches, verbose=0, callbacks=[BetaAnneal(1.0, 20), logs])
    # Users, and so the KL, differ from batch to batch: the epoch's sums must agree.
    kls = [
        float(model.test_on_batch(x, return_dict=True)["kl"])
        for (x,) in batches
        if not model.reset_metrics()
    ]
    last = logs.batches[-1]
    expected = sum(t / 20 * kl for t, kl in enumerate(kls)) / 10
    assert last["loss"] - last["nll"] == pytest.approx(expected, rel=1e-4)
    assert last["beta"] == pytest.approx(9 / 20)


def test_several_fits_go_on_and_a_new_schedule_takes_over():
    model = make_model()
    first = BetaAnneal(1.0, 100)
    model.fit(one_batch(), epochs=3, verbose=0, callbacks=[first])
    second = model.fit(one_batch(), epochs=2, verbose=0, callbacks=[first])
    np.testing.assert_allclose(second.history["beta"], [0.03, 0.04], rtol=1e-6)
    other = BetaAnneal(0.5, 1000)
    third = model.fit(one_batch(), epochs=2, verbose=0, callbacks=[other])
    np.testing.assert_allclose(third.history["beta"], [0.005, 0.006], rtol=1e-6)
    without = model.fit(one_batch(), epochs=1, verbose=0)
    np.testing.assert_allclose(without.history["beta"], [0.007], rtol=1e-6)


def test_goes_on_after_saving_and_loading(tmp_path):
    model = make_model()
    model.fit(one_batch(), epochs=5, verbose=0, callbacks=[BetaAnneal(1.0, 100)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    history = loaded.fit(one_batch(), epochs=1, verbose=0)
    np.testing.assert_allclose(history.history["beta"], [0.05], rtol=1e-6)


def test_without_the_callback_beta_is_the_argument_of_the_model():
    model = MultVAE(12, 3, (6,), beta=0.35, seed=1)
    model.compile()
    history = model.fit(one_batch(), epochs=2, verbose=0)
    np.testing.assert_allclose(history.history["beta"], [0.35, 0.35], rtol=1e-6)


def test_with_gradient_accumulation_beta_moves_with_the_optimiser():
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=3)
    history = make_model(optimizer).fit(
        one_batch(), epochs=7, verbose=0, callbacks=[BetaAnneal(1.0, 100)]
    )
    expected = [0, 0, 0, 0.01, 0.01, 0.01, 0.02]
    np.testing.assert_allclose(history.history["beta"], expected, rtol=1e-6)


def test_a_step_that_loss_scaling_skips_counts():
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(1e-3), initial_scale=3e38
    )
    model = make_model(optimizer)
    model.decoder.stack[-1].kernel.assign(np.full((6, 12), 9.0))  # large gradients
    before = model.trainable_variables[0].numpy()
    model.fit(one_batch(), verbose=0, callbacks=[BetaAnneal(1.0, 100)])
    after = model.trainable_variables[0].numpy()
    np.testing.assert_array_equal(before, after)  # it was skipped
    history = model.fit(one_batch(), verbose=0)
    np.testing.assert_allclose(history.history["beta"], [0.01], rtol=1e-6)


def test_validation_does_not_move_beta():
    model = make_model()
    history = model.fit(
        one_batch(),
        epochs=3,
        verbose=0,
        validation_data=one_batch(),
        callbacks=[BetaAnneal(1.0, 100)],
    )
    np.testing.assert_allclose(history.history["beta"], [0, 0.01, 0.02], rtol=1e-6)
    # The next step's: that by which `val_loss` was computed.
    np.testing.assert_allclose(history.history["val_beta"], [0.01, 0.02, 0.03], 1e-6)


def test_bad_use_is_named():
    with pytest.raises(ValueError, match="linear, constant, cyclical"):
        BetaAnneal(schedule="cosine")
    with pytest.raises(ValueError, match="cap"):
        BetaAnneal(cap=-1)
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.compile("sgd", "mse")
    with pytest.raises(TypeError, match="Sequential"):
        other.fit(
            np.zeros((2, 2)), np.zeros((2, 1)), verbose=0, callbacks=[BetaAnneal()]
        )


class Dictate(keras.callbacks.Callback):
    """Puts a metric of our choice into the logs of each epoch."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["val_ndcg_at_100"] = self.values[epoch]


@pytest.mark.parametrize(
    ("patience", "values", "frozen_after", "kept"),
    [
        (1, [0.1, 0.3, 0.2, 0.9, 0.9], 3, 2),
        (2, [0.1, 0.3, 0.2, 0.4, 0.3, 0.4], 6, 4),
        (3, [0.1, 0.2, 0.3, 0.4], None, None),
    ],
)
def test_beta_freezes_at_its_value_of_the_best_epoch(
    patience, values, frozen_after, kept
):
    model, freeze = make_model(), FreezeBeta(patience=patience)
    # Two steps an epoch, beta rises by 0.1 a step; the log is that of the last step.
    rising = [0.1 * (2 * epoch + 1) for epoch in range(len(values))]
    history = model.fit(
        UserBatches(make_clicks(40, 12), 20),
        epochs=len(values),
        callbacks=[BetaAnneal(2.0, 10), Dictate(values), freeze],
        verbose=0,
    ).history["beta"]
    if frozen_after is None:
        assert freeze.frozen is None
        assert history == pytest.approx(rising)
        return
    value = rising[kept - 1]
    assert freeze.frozen == pytest.approx(value)
    rest = [value] * (len(values) - frozen_after)
    assert history == pytest.approx(rising[:frozen_after] + rest)
    assert float(model.beta.current()) == pytest.approx(value)


def test_what_freezing_needs_is_named():
    batches = UserBatches(make_clicks(40, 12), 20)
    with pytest.raises(ValueError, match="validation_data with targets"):
        make_model().fit(batches, callbacks=[FreezeBeta()], verbose=0)
    with pytest.raises(ValueError, match="patience=0"):
        FreezeBeta(patience=0)
    model = MultDAE(12, 3)
    model.compile()
    with pytest.raises(TypeError, match="FreezeBeta moves the beta of a MultVAE"):
        model.fit(batches, callbacks=[FreezeBeta()], verbose=0)
