from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import InteractionEncoder
from keras_multvae.data.packing import pack


def numpy(tensors):
    return [keras.ops.convert_to_numpy(t) for t in tensors]


@pytest.mark.parametrize("hidden", [(), (5,), (7, 5)])
def test_sparse_and_dense_rows_give_the_same(hidden):
    clicks = make_clicks(30, 20)
    clicks.data[:] = np.random.default_rng(0).integers(1, 5, clicks.nnz)
    encoder = InteractionEncoder(20, 4, hidden, seed=1)
    dense = numpy(encoder(clicks.toarray()))
    sparse = numpy(encoder(pack(clicks, np.arange(30))))
    for a, b in zip(dense, sparse, strict=True):
        assert a.shape == (30, 4)
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_scale_of_a_row_does_not_matter_and_an_empty_row_is_finite():
    encoder = InteractionEncoder(6, 2, (3,), seed=1)
    row = np.array([[1, 2, 0, 0, 1, 0], [0] * 6], "float32")
    mean, log_var = numpy(encoder(row))
    scaled, _ = numpy(encoder(row * 10))
    np.testing.assert_allclose(mean, scaled, atol=1e-6)
    assert np.isfinite(mean).all() and np.isfinite(log_var).all()


@pytest.mark.parametrize("form", ["dense", "ragged"])
def test_dropout_is_inverted_and_comes_after_the_normalisation(form):
    # A linear encoder with an identity-like kernel shows its own input.
    encoder = InteractionEncoder(2000, 1000, (), dropout=0.75, seed=1)
    encoder.kernel.assign(np.eye(2000))
    encoder.bias.assign(np.zeros(2000))
    row = np.ones((1, 2000), "float32")
    inputs = row if form == "dense" else pack(sparse.csr_matrix(row), np.arange(1))
    seen = np.concatenate(numpy(encoder(inputs, training=True)), axis=1)[0]
    kept = seen[seen != 0]
    np.testing.assert_allclose(kept, 4 / np.sqrt(2000), rtol=1e-5)
    # 2,000 draws at 0.25: five standard deviations are 97.
    assert abs(len(kept) - 500) < 97


def test_initial_weights_are_those_of_the_recipe():
    encoder = InteractionEncoder(3000, 50, (400,), seed=1)
    kernel, bias, kernel2, bias2 = numpy(encoder.trainable_variables)
    limit = np.sqrt(6 / (3000 + 400))
    assert abs(kernel).max() <= limit * (1 + 1e-6)
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)
    assert abs(kernel2).max() <= np.sqrt(6 / (400 + 100)) * (1 + 1e-6)
    for b in (bias, bias2):
        assert 0.0005 < b.std() < 0.0012
        assert abs(b).max() <= 0.00201


@pytest.mark.parametrize("layer", [InteractionEncoder(9, 2, (4,), seed=3)])
def test_encoder_config(layer):
    copy = InteractionEncoder.from_config(layer.get_config())
    for a, b in zip(layer.trainable_variables, copy.trainable_variables, strict=True):
        np.testing.assert_array_equal(*numpy([a, b]))
    assert layer.compute_output_shape((None, 9)) == ((None, 2), (None, 2))
