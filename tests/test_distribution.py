"""Copies of a model on the devices of a distribution, here a single device."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_multvae import MultDAE, MultVAE, SampledSoftmax
from keras_multvae.data import UserBatches
from keras_multvae.distribution import (
    _copy,
    data_parallel,
    unshard,
    item_layout_map,
    item_parallel,
    shard,
)
from keras_multvae.models.weight_transfer import copy_state

on_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="keras.distribution is for JAX"
)


def test_without_a_distribution_nothing_is_copied():
    model = MultVAE(12, 3, (6,))
    assert shard(model) is model and unshard(model) is model


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="there it works")
@pytest.mark.parametrize("make", [data_parallel, item_parallel])
def test_other_backends_are_told_where_to_look(make):
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=jax"):
        make()


@pytest.mark.parametrize(
    ("kind", "likelihood"),
    [(MultVAE, "multinomial"), (MultDAE, "gaussian"), (MultVAE, "logistic")],
)
def test_fillers_change_neither_loss_nor_training(clicks, kind, likelihood):
    """What `shard` adds where the items do not divide by the parts."""
    options = {"likelihood": likelihood, "dropout": 0.5, "seed": 1}
    plain = kind(12, 3, (6,), **options)
    plain.compile()
    filled = _copy(plain, 3)
    batches = UserBatches(clicks, 20)
    found, expected = (
        model.fit(batches, epochs=3, verbose=0, validation_data=validation(clicks))
        for model in (filled, plain)
        if setattr(batches, "epoch", 0) is None
    )
    assert found.history.keys() == expected.history.keys()
    for key, values in expected.history.items():
        np.testing.assert_allclose(found.history[key], values, rtol=2e-5, err_msg=key)
    back = kind(12, 3, (6,), **options)
    copy_state(filled, back)
    for one, other in zip(back.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def validation(clicks):
    return UserBatches(clicks[:10], 10, shuffle=False, targets=clicks[10:20])


@on_jax
def test_the_layout_finds_every_item_table():
    mesh = keras.distribution.DeviceMesh((1, 1), ["users", "items"])
    layouts = item_layout_map(mesh)
    for model in (
        MultVAE(12, 3, (6,)),
        MultVAE(12, 3, ()),
        MultDAE(12, 3, ()),
        MultVAE(12, 3, (6,), head=SampledSoftmax(2)),
        MultVAE(12, 3, (6,), head=SampledSoftmax(2), tied=True),
        MultVAE(12, 3, (6,), head=SampledSoftmax(2, embedding_dtype="bfloat16")),
    ):
        for variable in model.trainable_variables:
            layout = layouts[variable.path]
            axes = [None] * len(variable.shape) if layout is None else layout.axes
            assert [size == 12 for size in variable.shape] == [
                axis == "items" for axis in axes
            ], variable.path


@on_jax
def test_what_cannot_be_distributed(clicks):
    with pytest.raises(ValueError, match="must divide the number of devices, 1"):
        item_parallel(2)
    with pytest.raises(ValueError, match='axis named "items"'):
        item_layout_map(keras.distribution.DeviceMesh((1,), ["model"]))
    batches = UserBatches(clicks, 20, partitions=2)
    with data_parallel().scope():
        model = shard(MultVAE(12, 3, (6,)))
        model.compile()
        model.fit(batches, verbose=0)
        batches._own = slice(1, 2)  # as of another process
        with pytest.raises(ValueError, match="Make them once it is set"):
            model.fit(batches, verbose=0)
