from __future__ import annotations

import keras
import numpy as np

from keras_multvae import Sampling

MEAN = np.full((4000, 3), 2.0, "float32")
LOG_VAR = np.full((4000, 3), np.log(0.25), "float32")


def test_inference_returns_the_mean():
    np.testing.assert_array_equal(Sampling()((MEAN, LOG_VAR), training=False), MEAN)


def test_training_draws_with_the_given_deviation():
    draw = keras.ops.convert_to_numpy(Sampling(0)((MEAN, LOG_VAR), training=True))
    # 12,000 draws: the mean is within 5 standard errors, 5 * 0.5 / sqrt(12000).
    assert abs(draw.mean() - 2.0) < 0.023
    assert abs(draw.std() - 0.5) < 0.017


def test_noise_is_that_of_the_seed():
    layer, other = Sampling(seed=5), Sampling(seed=5)
    first, second = (layer((MEAN, LOG_VAR), training=True) for _ in range(2))
    eps = keras.random.normal(MEAN.shape, seed=keras.random.SeedGenerator(5))
    first, second, eps = map(keras.ops.convert_to_numpy, (first, second, eps))
    np.testing.assert_allclose(first, MEAN + eps * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(
        first, keras.ops.convert_to_numpy(other((MEAN, LOG_VAR), training=True))
    )
    assert not np.array_equal(first, second)


def test_the_noise_goes_on_after_loading():
    layer, inputs = Sampling(seed=5), (MEAN[:2], LOG_VAR[:2])
    layer(inputs, training=True)
    store = {}
    layer.save_own_variables(store)
    expected = keras.ops.convert_to_numpy(layer(inputs, training=True))
    other = Sampling(seed=6)
    other.load_own_variables(store)
    found = keras.ops.convert_to_numpy(other(inputs, training=True))
    np.testing.assert_array_equal(found, expected)


def test_config():
    layer = Sampling(seed=3, name="z")
    copy = Sampling.from_config(layer.get_config())
    assert (copy.seed, copy.name) == (3, "z")
    assert layer.compute_output_shape(((2, 3), (2, 3))) == (2, 3)
    assert len(layer.weights) == 0
    assert len(layer.non_trainable_variables) == 1  # the state of the generator
