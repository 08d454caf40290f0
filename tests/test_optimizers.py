from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_multvae import FusedAdam, MultVAE

RATE, BETA_1, BETA_2, EPSILON = 0.05, 0.9, 0.99, 1e-4


def gradients_of(steps, shape=(6, 5), seed=0):
    """Gradients whose scales differ by weight, some of them 0 as for unseen items."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-5, 1, shape)
    for _ in range(steps):
        yield (rng.normal(size=shape) * scale * (rng.random(shape) < 0.7)).astype(
            "float32"
        )


def apply(optimizer, gradients, start):
    variable = keras.Variable(start, dtype="float32")
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return variable.numpy()


def adam(gradients, start):
    """Adam as Keras documents it, epsilon beside the uncorrected sqrt(v); float64."""
    weights, m, v = start.astype("float64"), 0.0, 0.0
    for t, gradient in enumerate(gradients, start=1):
        gradient = gradient.astype("float64")
        m = BETA_1 * m + (1 - BETA_1) * gradient
        v = BETA_2 * v + (1 - BETA_2) * gradient**2
        rate = RATE * np.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
        weights = weights - rate * m / (np.sqrt(v) + EPSILON)
    return weights


def make(cls=FusedAdam, **kwargs):
    return cls(RATE, BETA_1, BETA_2, EPSILON, **kwargs)


def test_a_hundred_steps_equal_the_formula():
    start = np.random.default_rng(1).normal(size=(6, 5)).astype("float32")
    found = apply(make(), gradients_of(100), start)
    np.testing.assert_allclose(found, adam(gradients_of(100), start), rtol=2e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"amsgrad": True},
        {"weight_decay": 0.1},
        {"clipnorm": 0.5},
        {"use_ema": True, "ema_overwrite_frequency": 7},
        {"gradient_accumulation_steps": 3},
        {"loss_scale_factor": 8.0},
    ],
    ids=lambda options: next(iter(options), "plain"),
)
def test_a_hundred_steps_equal_those_of_keras(options):
    start = np.random.default_rng(1).normal(size=(6, 5)).astype("float32")
    ours = apply(make(**options), gradients_of(100), start)
    keras_own = apply(make(keras.optimizers.Adam, **options), gradients_of(100), start)
    np.testing.assert_allclose(ours, keras_own, rtol=5e-5, atol=1e-6)


def test_learning_rate_schedules_are_followed():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    start = np.ones((6, 5), "float32")
    found = [
        apply(cls(schedule, epsilon=1e-8), gradients_of(30), start)
        for cls in (FusedAdam, keras.optimizers.Adam)
    ]
    np.testing.assert_allclose(*found, rtol=5e-5, atol=1e-6)


def test_a_compiled_model_trains_as_with_keras_own(clicks):
    weights = []
    for cls in (FusedAdam, keras.optimizers.Adam):
        model = MultVAE(12, 3, (6,), seed=1)
        model.compile(cls(1e-2))
        model.fit(clicks.toarray(), batch_size=20, epochs=10, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for ours, keras_own in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, keras_own, atol=1e-4)


def test_state_and_config_go_to_the_other_and_back():
    model = MultVAE(12, 3, (6,), seed=1)
    model.compile()
    assert isinstance(model.optimizer, FusedAdam)
    model.fit(np.eye(12, dtype="float32"), epochs=2, verbose=0)
    other = keras.optimizers.Adam.from_config(model.optimizer.get_config())
    other.build(model.trainable_variables)
    assert [v.path.split("/", 1)[1] for v in other.variables] == [
        v.path.split("/", 1)[1] for v in model.optimizer.variables
    ]
    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(model.optimizer)
    )
    assert type(copy) is FusedAdam
    assert copy.get_config() == model.optimizer.get_config()
