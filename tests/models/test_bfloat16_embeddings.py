"""Item tables in bfloat16, which a step rounds at random."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from conftest import make_clicks

from keras_multvae import (
    BetaAnneal,
    FusedAdam,
    MultVAE,
    Recommender,
    SampledSoftmax,
    backend,
)
from keras_multvae.data import Interactions, Split, UserBatches
from keras_multvae.training import Recipe, train

ITEMS = 40
CLICKS = make_clicks(users=60, items=ITEMS, seed=1)
BFLOAT16 = np.dtype("bfloat16")


def make(items=ITEMS, num_sampled=10, embedding_dtype="bfloat16", **options):
    head = SampledSoftmax(num_sampled, embedding_dtype=embedding_dtype)
    return MultVAE(items, 4, (8,), head=head, seed=1, **options)


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def neighbours(values):
    """The bfloat16 numbers next to float32 ones, towards 0 and away from it."""
    bits = values.view("uint32")
    towards = bits & 0xFFFF0000
    away = np.where(bits == towards, towards, towards + 0x10000)
    return towards.view("float32"), away.astype("uint32").view("float32")


def rounded(values, seed):
    found = numpy(backend.round_at_random(keras.ops.convert_to_tensor(values), seed))
    assert found.dtype == BFLOAT16
    return found.astype("float32")


def test_rounding_keeps_the_mean():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(6, 5)) * 10.0 ** generator.integers(-6, 4, (6, 5))
    values = values.astype("float32")
    # Just below a power of two, where the neighbours are of two binades.
    values[0, :2] = np.nextafter(np.float32(2), 0), -np.nextafter(np.float32(1), 0)
    low, high = neighbours(values)
    draws, total = 2000, np.zeros(values.shape)
    for seed in range(draws):
        found = rounded(values, seed)
        assert ((found == low) | (found == high)).all()
        total += (found.astype("float64") - low) / (high.astype("float64") - low)
    share = (values.astype("float64") - low) / (high.astype("float64") - low)
    error = np.sqrt(share * (1 - share) / draws)
    assert (np.abs(total / draws - share) < 4.5 * error + 1e-9).all()
    # All together: the noise of one step is not that of the next.
    off = (total / draws - share)[error > 0] / error[error > 0]
    assert 0.5 < np.mean(off**2) < 1.7


def test_what_fits_stays_and_seeds_differ():
    values = np.array([[0, -0.0, 1, -2.5, np.inf, -np.inf, 1e-30, 3e38]], "float32")
    values = values.astype(BFLOAT16).astype("float32")
    np.testing.assert_array_equal(rounded(values, 3), values)
    assert np.isnan(rounded(np.full((2, 2), np.nan, "float32"), 3)).all()
    odd = np.random.default_rng(1).normal(size=(50, 20)).astype("float32")
    np.testing.assert_array_equal(rounded(odd, 7), rounded(odd, 7))
    assert (rounded(odd, 7) != rounded(odd, 8)).mean() > 0.2


def test_small_steps_add_up():
    """A weight of 1 moves by a thousandth a step: half of its last place is 0.002."""
    items, steps, rate = 300, 30, 1e-3
    table = keras.Variable(np.ones((items, 4)), dtype="bfloat16")
    optimizer = FusedAdam(rate, beta_1=0.5, beta_2=0.999, epsilon=1e-8)
    optimizer.build([table])
    momentum, velocity = optimizer._momentums[0], optimizer._velocities[0]
    assert momentum.dtype == velocity.dtype == "bfloat16"
    velocity.assign(np.ones((items, 4)))
    target = table.value if keras.backend.backend() == "tensorflow" else table
    for step in range(1, steps + 1):
        backend.sparse_adam_update(
            variable=target,
            momentum=momentum,
            velocity=velocity,
            ids=keras.ops.convert_to_tensor(np.arange(items)),
            gradient=keras.ops.ones((items, 4), dtype="float32"),
            step=keras.ops.convert_to_tensor(step),
            seed=keras.ops.convert_to_tensor(step),
            learning_rate=keras.ops.convert_to_tensor(np.float32(rate)),
            beta_1=0.5,
            beta_2=0.999,
            epsilon=1e-8,
        )
    # v stays at 1, as every gradient is; m comes from 0 to 1.
    weight, m = 1.0, 0.0
    for step in range(1, steps + 1):
        m += (1 - m) * 0.5
        weight -= rate * m * np.sqrt(1 - 0.999**step) / (1 - 0.5**step)
    found = numpy(table).astype("float64")
    assert weight < 0.999
    error = found.std() / np.sqrt(found.size)
    assert abs(found.mean() - weight) < 4 * error
    np.testing.assert_allclose(numpy(momentum).astype("float64").mean(), m, rtol=1e-3)


def test_a_velocity_decays():
    """By 0.1% a step, a quarter of what rounding to nearest would see."""
    table = keras.Variable(np.zeros((400, 3)), dtype="bfloat16")
    optimizer = FusedAdam(0.0)
    optimizer.build([table])
    velocity = optimizer._velocities[0]
    velocity.assign(np.full((400, 3), 0.25))
    target = table.value if keras.backend.backend() == "tensorflow" else table
    for step in range(1, 101):
        backend.sparse_adam_update(
            variable=target,
            momentum=optimizer._momentums[0],
            velocity=velocity,
            ids=keras.ops.convert_to_tensor(np.arange(400)),
            gradient=keras.ops.zeros((400, 3), dtype="float32"),
            step=keras.ops.convert_to_tensor(step),
            seed=keras.ops.convert_to_tensor(step),
            learning_rate=keras.ops.convert_to_tensor(np.float32(0)),
            beta_1=0.9,
            beta_2=0.999,
            epsilon=1e-7,
        )
    found = numpy(velocity).astype("float64")
    error = found.std() / np.sqrt(found.size)
    assert abs(found.mean() - 0.25 * 0.999**100) < 4 * error


@pytest.mark.parametrize("tied", [False, True])
def test_item_tables_and_their_moments_alone_are_narrow(tied):
    model = make(tied=tied)
    model.compile()
    model.optimizer.build(model.trainable_variables)
    optimizer = model.optimizer
    for variables in (model.weights, optimizer._momentums, optimizer._velocities):
        tables = [v for v in variables if v.dtype == "bfloat16"]
        assert [v.shape for v in tables] == (2 - tied) * [(ITEMS, 8)]
        assert {v.dtype for v in variables} > {"bfloat16"}


def fitted(embedding_dtype):
    """A model after a few epochs, and their validation NLL."""
    model = make(embedding_dtype=embedding_dtype)
    model.compile(FusedAdam(0.02))
    nll = model.fit(
        UserBatches(CLICKS, 20),
        epochs=20,
        callbacks=[BetaAnneal(total_steps=300)],
        validation_data=UserBatches(CLICKS, 20),
        verbose=0,
    ).history["val_nll"]
    return model, np.array(nll)


@pytest.fixture(scope="module")
def narrow():
    return fitted("bfloat16")


def test_a_training_goes_as_with_float32(narrow):
    found, expected = narrow[1], fitted(None)[1]
    assert found[-1] < 0.99 * found[0]
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_training_and_scores_agree_with_the_same_table_in_float32():
    """The numbers of the tables are those of a float32 model's."""
    clicks = make_clicks(users=30, items=ITEMS, seed=2)
    narrow, wide = make(), make(embedding_dtype=None)
    for source, target in zip(narrow.weights, wide.weights, strict=True):
        target.assign(numpy(source).astype(target.dtype))
    np.testing.assert_allclose(narrow.score(clicks), wide.score(clicks), rtol=1e-5)
    dense = keras.ops.convert_to_tensor(clicks.toarray())
    for inputs in (UserBatches(clicks, 30, shuffle=False)[0][0], dense):
        for one, other in zip(
            narrow.encoder(inputs), wide.encoder(inputs), strict=True
        ):
            np.testing.assert_allclose(numpy(one), numpy(other), atol=1e-6)
    np.testing.assert_array_equal(narrow.item_vectors, wide.item_vectors)
    assert narrow.item_vectors.dtype == np.float32


def test_initial_weights_are_those_of_float32_rounded():
    for name in ("encoder", "decoder"):
        narrow, wide = (
            numpy(getattr(make(items=500, embedding_dtype=each), name).kernel)
            for each in ("bfloat16", None)
        )
        np.testing.assert_array_equal(narrow, wide.astype(BFLOAT16))


def test_saves_loads_and_grows(narrow, tmp_path):
    model, _ = narrow
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    weights = make()
    weights.load_weights(tmp_path / "model.weights.h5")
    for each in (loaded, weights):
        assert each.encoder.kernel.dtype == "bfloat16"
        for one, other in zip(each.weights, model.weights, strict=True):
            np.testing.assert_array_equal(numpy(one), numpy(other))
    for one, other in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(numpy(one), numpy(other))
    grown = loaded.with_new_items(ITEMS + 5)
    np.testing.assert_array_equal(grown.item_vectors[:ITEMS], loaded.item_vectors)
    mean = loaded.item_vectors.mean(axis=0)
    for row in grown.item_vectors[ITEMS:]:
        np.testing.assert_allclose(row, mean, rtol=2**-8)
    wider = CLICKS.copy()
    wider.resize(60, ITEMS + 5)
    grown.fit(UserBatches(wider, 20), verbose=0)
    assert np.isfinite(grown.score(wider)).all()


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path):
    interactions = Interactions.from_matrix(CLICKS)
    split = Split(interactions, None, None)
    head = SampledSoftmax(10, embedding_dtype="bfloat16")
    config = MultVAE.Config(latent_dim=4, hidden_dims=(8,), head=head)
    recipe = Recipe(config, epochs=4, batch_size=20)
    whole, _ = train(split, recipe, tmp_path / "whole")

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    state = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train(split, recipe, state, save_every=0, callbacks=[Stop()])
    stored = json.loads((state / "recipe.json").read_text())
    assert stored["settings"]["head"]["table_dtype"] == "bfloat16"
    resumed, history = train(split, recipe, state, resume=True)
    assert len(history) == 4
    for one, other in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))
    # Nothing more to do: the best weights come from their file.
    again, _ = train(split, recipe, state, resume=True, save_every=0)
    recommender = Recommender(again, split.train.items)
    recommender.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    matrix = split.train.matrix
    np.testing.assert_array_equal(loaded.model.score(matrix), again.score(matrix))


def test_bad_arguments():
    with pytest.raises(ValueError, match="`embedding_dtype` must be one of bfloat16"):
        make(embedding_dtype="float16")


@pytest.mark.parametrize(
    "optimizer", ["adam", FusedAdam(clipnorm=1.0), FusedAdam(weight_decay=0.1)]
)
def test_only_our_adam_on_rows_trains_them(optimizer):
    with pytest.raises(ValueError, match="it alone rounds at random"):
        make().compile(optimizer)
