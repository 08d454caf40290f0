"""The forward pass in plain TensorFlow against the layers, and against NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy import sparse

from keras_multvae import MultDAE, MultVAE, Recommender, export_saved_model
from keras_multvae.data import Vocabulary

tf = pytest.importorskip("tensorflow")

USERS, ITEMS = 20, 40
# Elsewhere the same graph is made in a process under TensorFlow: test_export.py.
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the graph is made by TensorFlow"
)


def histories(seed=0):
    """Rows of item indices, -1 for none, and the same as a matrix."""
    rng = np.random.default_rng(seed)
    indices = np.full((USERS, 9), -1, "int32")
    dense = np.zeros((USERS, ITEMS), "float32")
    for user in range(1, USERS):  # the first has none
        items = rng.choice(ITEMS, rng.integers(1, 9), replace=False)
        indices[user, : len(items)] = items
        dense[user, items] = 1
    return indices, dense


def randomised(model):
    """The model with weights of a size at which rounding shows."""
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape).astype("float32"))
    return model


@on_tensorflow
@pytest.mark.parametrize("likelihood", ["multinomial", "gaussian", "logistic"])
@pytest.mark.parametrize("hidden_dims", [(), (16,), (16, 8)])
@pytest.mark.parametrize("kind", [MultVAE, MultDAE])
def test_the_layers_and_the_graph_agree(kind, hidden_dims, likelihood):
    from keras_multvae.serving.forward import forward_of

    model = randomised(kind(ITEMS, 4, hidden_dims, likelihood=likelihood))
    network = forward_of(model)
    indices, dense = histories()
    expected = model.score(sparse.csr_matrix(dense))
    np.testing.assert_allclose(network.scores(indices), expected, atol=1e-5)
    z, log_variance = network.encode(indices)
    np.testing.assert_allclose(z, model.encode(dense), atol=1e-5)
    assert (log_variance is None) == (kind is MultDAE)


def path_of(model):
    """A model with a linear path of weight 2, and that path, dense."""
    matrix = sparse.random(ITEMS, ITEMS, 0.2, "csr", np.float32, rng=3)
    matrix.data -= 0.5
    matrix.data[matrix.indptr[5] : matrix.indptr[6]] = 0  # a row without an entry
    return model.with_linear_path(matrix, 2.0), 2 * matrix.toarray()


@on_tensorflow
@pytest.mark.parametrize("likelihood", ["multinomial", "logistic"])
def test_a_linear_path_is_part_of_the_graph(likelihood):
    from keras_multvae.serving.forward import PlainForward, forward_of

    model, _ = path_of(randomised(MultVAE(ITEMS, 4, (16,), likelihood=likelihood)))
    network = forward_of(model)
    assert isinstance(network, PlainForward)
    indices, dense = histories()
    expected = model.score(sparse.csr_matrix(dense))
    np.testing.assert_allclose(network.scores(indices), expected, atol=1e-5)


@on_tensorflow
@pytest.mark.parametrize("quantize", ["bfloat16", "int8"])
def test_a_quantized_linear_path_by_hand(quantize):
    from keras_multvae.serving.forward import forward_of

    network = randomised(MultVAE(ITEMS, 4, (16,), likelihood="gaussian"))
    model, matrix = path_of(network)
    indices, dense = histories()
    found = forward_of(model, quantize).scores(indices)
    alone = forward_of(network, quantize).scores(indices)
    matrix[5] = 1e-30  # no division of nothing by nothing
    expected = alone + dense @ dequantized(matrix, quantize, 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@on_tensorflow
def test_another_policy_is_served_in_float32():
    from keras_multvae.serving.forward import forward_of

    model = randomised(MultVAE(ITEMS, 4, (16,), dtype="mixed_bfloat16"))
    indices, dense = histories()
    found = forward_of(model).scores(indices)
    assert found.dtype == tf.float32
    expected = model.score(sparse.csr_matrix(dense))
    np.testing.assert_allclose(found, expected, atol=0.2)


def dequantized(weights, quantize, axis):
    """What a quantized matrix stands for, by definition."""
    if quantize == "bfloat16":
        return weights.astype(tf.bfloat16.as_numpy_dtype).astype("float32")
    scales = np.abs(weights).max(axis=axis, keepdims=True) / 127
    return np.round(weights / scales).clip(-127, 127) * scales


@on_tensorflow
@pytest.mark.parametrize("quantize", ["bfloat16", "int8"])
def test_quantized_weights_by_hand(quantize, monkeypatch):
    from keras_multvae.serving import embeddings
    from keras_multvae.serving.forward import forward_of

    monkeypatch.setattr(embeddings, "PART", 4 * 16 * 7)  # parts of a few items
    model = randomised(MultVAE(ITEMS, 4, (16,)))
    made = forward_of(model, quantize)
    assert len(made.items.parts) == 6
    table = dequantized(model.encoder.kernel.numpy(), quantize, 1)
    matrix = dequantized(model.decoder.stack[-1].kernel.numpy(), quantize, 0)
    indices, dense = histories()
    rows = dense / np.sqrt(np.maximum(dense.sum(axis=1, keepdims=True), 1))
    hidden = np.tanh(rows @ table + model.encoder.bias.numpy())
    (last,) = model.encoder.stack
    z = (hidden @ last.kernel.numpy() + last.bias.numpy())[:, :4]
    inner, outer = model.decoder.stack
    hidden = np.tanh(z @ inner.kernel.numpy() + inner.bias.numpy())
    logits = hidden @ matrix + outer.bias.numpy()
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(made.scores(indices), expected, atol=1e-4)
    directions = matrix / np.linalg.norm(matrix, axis=0)
    wanted = np.array([0, 39, 7], "int32")
    np.testing.assert_allclose(
        made.items.cosines(wanted), directions.T[wanted] @ directions, atol=1e-5
    )


@pytest.mark.parametrize(
    ("quantize", "bytes_a_weight"),
    [pytest.param("bfloat16", 2, marks=on_tensorflow), ("int8", 1)],
)
def test_a_quantized_export_is_small_and_answers(tmp_path, quantize, bytes_a_weight):
    model = MultVAE(2000, 8, (64,), seed=0)
    recommender = Recommender(model, Vocabulary(range(2000)))
    folder = export_saved_model(recommender, tmp_path / "m", quantize=quantize)
    size = sum(file.stat().st_size for file in folder.glob("variables/*"))
    tables = 2 * 2000 * 64 * bytes_a_weight
    # Beside the tables: layers within, bias, scales, lengths and prior of the items.
    assert tables < size < tables + 4 * (2 * 2000 + 3 * 2000 + 4000)
    loaded = tf.saved_model.load(str(folder))
    found = loaded.signatures["serving_default"](
        item_ids=tf.constant([[5, 9, -1]], tf.int64)
    )
    expected, scores = recommender.recommend([5, 9], k=100)[0]
    np.testing.assert_allclose(found["scores"][0], scores, atol=1e-2)
    common = set(expected.tolist()) & set(found["item_ids"][0].numpy().tolist())
    assert len(common) > 80
    assert quantize in (folder / "assets.extra" / "MODEL_CARD.md").read_text()
