"""ImplicitSLIM against the formula with dense items x items matrices."""

from __future__ import annotations

import keras
import numpy as np
import oracle_recvae as oracle
import pytest
from conftest import make_clicks

from keras_multvae import ImplicitSLIM, MultDAE, MultVAE, RecVAE, SampledSoftmax
from keras_multvae import callbacks as module
from keras_multvae.data import Interactions, UserBatches
from keras_multvae.distribution import _copy

ITEMS = 12
CLICKS = make_clicks(40, ITEMS)
OPTIONS = {"every": 2, "l2": 5.0, "alpha": 0.7, "min_clicks": 7}


def expected(table):
    """Of a table (items, units)."""
    x = CLICKS.toarray().astype("float64")
    return oracle.implicit_slim(table.T, x, 5.0, 0.7, 7).T


@pytest.mark.parametrize("users", [7, 40])
def test_an_update_is_the_formula_whatever_the_blocks(users, monkeypatch):
    monkeypatch.setattr(module, "USERS_AT_ONCE", users)
    counts = CLICKS.copy()
    counts.data[:] = np.random.default_rng(0).integers(1, 9, counts.nnz)
    slim = ImplicitSLIM(counts, **OPTIONS)
    assert 0 < (slim.item_clicks >= 7).sum() < ITEMS
    table = np.random.default_rng(1).normal(size=(ITEMS, 4))
    np.testing.assert_allclose(slim.updated(table), expected(table), rtol=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MultVAE(ITEMS, 3, (5,), seed=1),
        lambda: RecVAE(ITEMS, 3, 5, seed=1),
        lambda: MultVAE(ITEMS, 3, (5,), tied=True, seed=1),
        lambda: MultVAE(ITEMS, 3, (5,), head=SampledSoftmax(5), seed=1),
        lambda: _copy(MultVAE(ITEMS, 3, (5,), seed=1), 2),
    ],
    ids=["multvae", "recvae", "tied", "sampled", "padding_items"],
)
def test_both_tables_of_a_model_are_updated(make):
    model = make()
    model.compile()
    before = model.get_weights()
    slim = ImplicitSLIM(Interactions.from_matrix(CLICKS), **OPTIONS)
    slim.set_model(model)
    slim.on_train_begin()
    for epoch in range(4):
        slim.on_epoch_begin(epoch)
    assert slim.updates == 1
    tables = {id(variable): axis for variable, axis in model.item_embeddings}
    assert len(tables) == (1 if getattr(model, "tied", False) else 2)
    for variable, old in zip(model.weights, before, strict=True):
        new = keras.ops.convert_to_numpy(variable)
        axis = tables.get(id(variable))
        if axis is None:
            np.testing.assert_array_equal(new, old)
            continue
        new, old = (each if axis == 0 else each.T for each in (new, old))
        wanted = expected(old[:ITEMS].astype("float64"))
        np.testing.assert_allclose(new[:ITEMS], wanted, atol=1e-5)
        np.testing.assert_array_equal(new[ITEMS:], 0 * new[ITEMS:])


def test_in_fit_training_goes_on_from_the_new_tables():
    model = MultVAE(ITEMS, 3, (5,), seed=1)
    model.compile(keras.optimizers.SGD(0.0))
    before = keras.ops.convert_to_numpy(model.encoder.kernel).astype("float64")
    slim = ImplicitSLIM(CLICKS, **OPTIONS)
    batches = UserBatches(CLICKS, 20)
    model.fit(batches, epochs=5, callbacks=[slim], verbose=0)
    assert slim.updates == 2
    twice = expected(expected(before))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.encoder.kernel), twice, atol=1e-5
    )


def test_bad_use_is_named():
    with pytest.raises(TypeError, match=r"sparse matrix .* Received: ndarray"):
        ImplicitSLIM(CLICKS.toarray())
    with pytest.raises(ValueError, match=r"most clicked item has \d+ clicks.*1000"):
        ImplicitSLIM(CLICKS)
    for name, value in {"every": 0, "l2": 0, "alpha": -1, "min_clicks": -1}.items():
        with pytest.raises(ValueError, match=f"`?{name}"):
            ImplicitSLIM(CLICKS, **{**OPTIONS, name: value})
    slim = ImplicitSLIM(CLICKS, **OPTIONS)
    slim.set_model(MultVAE(13, 3))
    with pytest.raises(ValueError, match=r"13 items.*\(40, 12\)"):
        slim.on_train_begin()
    slim.set_model(MultDAE(ITEMS, 3))
    with pytest.raises(TypeError, match=r"ImplicitSLIM needs .* Received: MultDAE"):
        slim.on_train_begin()
