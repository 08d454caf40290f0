"""Training on the clicked and some sampled items in place of all."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import BetaAnneal, FusedAdam, MultVAE, SampledSoftmax, backend
from keras_multvae.data import UserBatches
from keras_multvae.layers.sampler import SAMPLERS, CandidateSampler, alias_tables
from keras_multvae.losses import MultinomialNLL, SampledLogits

ITEMS = 12
# So many draws that each of a dozen items is among them.
ALL = 3000


def make(items=ITEMS, num_sampled=ALL, sampler="log_uniform", **options):
    head = SampledSoftmax(num_sampled, sampler)
    return MultVAE(items, 3, (6,), dropout=0.0, head=head, seed=1, **options)


def batch(clicks):
    return UserBatches(clicks, 100, shuffle=False)[0][0]


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_the_estimate_is_that_of_the_formula():
    """Two users with two clicks and one, three sampled items; in float64."""
    bags = {
        "entries_per_user": np.array([2, 2], "int32"),
        "item_ids": np.array([0, 1, 2, 0], "int32"),
        "values": np.array([1, 2, 1, 0], "float32"),  # the last is padding
    }
    clicked = np.array([0.3, -1.0, 2.0, 50.0])
    sampled = np.array([[0.1, 5.0, -2.0], [1.5, 0.2, 7.0]])
    hits = np.array([[False, True, False], [False, False, True]])
    terms = np.where(hits, 0, np.exp(sampled)).sum(1)
    clicks = np.array([np.exp(0.3) + np.exp(-1.0), np.exp(2.0)])
    norms = np.log(terms + clicks)
    expected = [3 * norms[0] - 0.3 + 2.0, norms[1] - 2.0]
    logits = SampledLogits(
        *map(keras.ops.convert_to_tensor, (clicked.astype("f4"), sampled.astype("f4"))),
        keras.ops.convert_to_tensor(hits),
    )
    found = numpy(MultinomialNLL().sampled(bags, logits))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("sampler", ["log_uniform", "popularity"])
@pytest.mark.parametrize("tied", [False, True])
def test_where_all_items_are_drawn_the_loss_is_the_full_one(clicks, sampler, tied):
    model = make(sampler=sampler, tied=tied)
    x = batch(clicks)
    # z is drawn in training: the comparison needs a posterior without width.
    model.encoder.stack[-1].bias.assign([0.0] * 3 + [-40.0] * 3)
    sampled = model.likelihood.sampled(x, model(x, training=True))
    full = model.likelihood.call(x, model.decoder(model.encode(x)))
    np.testing.assert_allclose(numpy(sampled), numpy(full), rtol=1e-4)


def test_the_normaliser_is_right_in_expectation():
    """Over many draws, the mean of the estimated sums of exp is the sum over all."""
    clicks = make_clicks(users=8, items=60, seed=3)[[0, 1, 3, 4]]
    model = make(items=60, num_sampled=15, sampler="popularity")
    model.candidates.set_popularity(np.asarray(clicks.sum(0))[0])
    model.encoder.stack[-1].bias.assign([0.0] * 3 + [-40.0] * 3)
    x, total = batch(clicks), np.asarray(clicks.sum(1))[:, 0]
    logits = numpy(model.decoder(model.encode(x))).astype("float64")
    dense = clicks.toarray()
    estimates = []
    for _ in range(100):
        nll = numpy(model.likelihood.sampled(x, model(x, training=True)))
        log_norm = (nll + (dense * logits).sum(1)) / total
        estimates.append(np.exp(log_norm))
    mean, error = np.mean(estimates, 0), np.std(estimates, 0) / np.sqrt(100)
    off = (mean - np.exp(logits).sum(1)) / error
    assert np.abs(off).max() < 4
    assert (error > 0).all()


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_of_rows_are_those_of_the_table(clicks, tied):
    """One step of our Adam on rows, and of Keras' on whole tables."""
    models = [make(tied=tied) for _ in range(2)]
    start = [numpy(v) for v in models[0].trainable_variables]
    rows, table = models
    rows.compile(FusedAdam(0.01, epsilon=1e-4))
    table.compile(keras.optimizers.Adam(0.01, epsilon=1e-4))
    assert rows.sparse_gradients and not table.sparse_gradients
    for model in models:
        model.train_on_batch(batch(clicks))
    changed = 0
    for one, other, before in zip(
        rows.trainable_variables, table.trainable_variables, start, strict=True
    ):
        np.testing.assert_allclose(numpy(one), numpy(other), atol=2e-5)
        changed += np.abs(numpy(one) - before).max() > 1e-4
    assert changed == len(start)


@pytest.mark.parametrize(
    ("sampler", "dtype"),
    [*((sampler, "float32") for sampler in SAMPLERS), ("popularity", "mixed_bfloat16")],
)
def test_a_step_leaves_all_other_rows_and_their_moments_alone(sampler, dtype):
    items = 200
    clicks = sparse.csr_matrix(np.eye(5, items, dtype="float32"))
    model = make(items=items, num_sampled=4, sampler=sampler, dtype=dtype)
    model.compile()
    before = [numpy(v) for v in model.trainable_variables]
    model.train_on_batch(batch(clicks))
    seen = 0
    for variable, old in zip(model.trainable_variables, before, strict=True):
        if variable.shape[0] != items:
            continue
        seen += 1
        touched = (numpy(variable) != old).any(axis=1)
        assert touched[:5].all()
        assert 5 <= touched.sum() <= 5 + 4 + 1  # item 0 pads
        index = model.optimizer._get_variable_index(variable)
        for moments in (model.optimizer._momentums, model.optimizer._velocities):
            assert not numpy(moments[index])[~touched].any()
    assert seen == 3


def test_moments_of_rows_follow_the_formula():
    """Three steps, of which an item is in the first and the last; float64."""
    variable = keras.Variable(np.ones((4, 2), "float32"))
    rate, beta_1, beta_2, epsilon = 0.1, 0.9, 0.999, 1e-3
    optimizer = FusedAdam(rate, beta_1, beta_2, epsilon)
    optimizer.build([variable])
    weights, m, v = np.ones((4, 2)), np.zeros((4, 2)), np.zeros((4, 2))
    for step, ids in enumerate([[0, 1], [1, 3], [3, 0]], start=1):
        gradient = np.full((2, 2), 0.5 * step)
        target = variable
        if keras.backend.backend() == "tensorflow":
            target = variable.value
        backend.sparse_adam_update(
            variable=target,
            momentum=optimizer._momentums[0],
            velocity=optimizer._velocities[0],
            ids=keras.ops.convert_to_tensor(np.array(ids)),
            gradient=keras.ops.convert_to_tensor(gradient.astype("float32")),
            step=keras.ops.convert_to_tensor(step),
            seed=keras.ops.convert_to_tensor(step),
            learning_rate=keras.ops.convert_to_tensor(np.float32(rate)),
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
        )
        m[ids] = beta_1 * m[ids] + (1 - beta_1) * gradient
        v[ids] = beta_2 * v[ids] + (1 - beta_2) * gradient**2
        correction = np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        weights[ids] -= rate * correction * m[ids] / (np.sqrt(v[ids]) + epsilon)
    np.testing.assert_allclose(numpy(variable), weights, rtol=1e-5)


@pytest.mark.parametrize("items", [1, 7, 1000])
def test_alias_tables_give_each_item_its_share(items):
    share = np.random.default_rng(items).pareto(1.1, items) + 1e-9
    share /= share.sum()
    threshold, alias = alias_tables(share)
    found = threshold.astype("float64")
    np.add.at(found, alias, 1 - threshold.astype("float64"))
    np.testing.assert_allclose(found / items, share, atol=1e-7)


def test_the_samplers_draw_as_they_say():
    clicks = np.array([0, 7, 1, 2])
    x = {
        "entries_per_user": np.array([4], "int32"),
        "item_ids": np.array([3, 1, 3, 0], "int32"),
        "values": np.array([1, 1, 1, 0], "float32"),
    }
    shares = {
        "popularity": np.array([1, 8, 2, 3]) / 14,
        # Ranks by clicks: item 1, item 3, item 2, item 0.
        "log_uniform": np.log([5 / 4, 2 / 1, 4 / 3, 3 / 2]) / np.log(5),
    }
    for sampler in SAMPLERS:
        layer = CandidateSampler(4, 4000, sampler, seed=0)
        layer.set_popularity(clicks)
        items = layer(x)
        drawn = np.bincount(numpy(items.ids)[numpy(items.candidates)], minlength=4)
        if sampler == "in_batch":
            expected = np.array([0, 1, 0, 2]) / 3
        else:
            expected = shares[sampler]
        np.testing.assert_allclose(drawn / 4000, expected, atol=0.04)
    layer = CandidateSampler(4, 3, "popularity", seed=0)
    layer.set_popularity(clicks)
    np.testing.assert_allclose(
        np.exp(numpy(layer.log_inclusion)),
        1 - (1 - shares["popularity"]) ** 3,
        rtol=1e-5,
    )


def test_fit_learns_validates_saves_and_goes_on(tmp_path):
    clicks = make_clicks(users=60, items=40, seed=1)
    most = np.arange(40) > 0  # the input itself is no target
    model = MultVAE(40, 4, (8,), head=SampledSoftmax(10), tied=True, seed=0)
    model.compile(FusedAdam(0.01))
    history = model.fit(
        UserBatches(clicks, 20),
        epochs=8,
        validation_data=UserBatches(clicks, 20, targets=clicks.multiply(most)),
        callbacks=[BetaAnneal(total_steps=50)],
        verbose=0,
    ).history
    assert {"val_ndcg_at_100", "nll", "kl", "beta"} <= set(history)
    assert history["val_loss"][-1] < history["val_loss"][0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.score(clicks), model.score(clicks), atol=1e-6)
    assert loaded.sparse_gradients
    for each in (model, loaded):
        each.fit(UserBatches(clicks, 20, shuffle=False), verbose=0)
    np.testing.assert_allclose(loaded.score(clicks), model.score(clicks), atol=1e-5)
    grown = loaded.with_new_items(45)
    wider = sparse.csr_matrix((clicks.data, clicks.indices, clicks.indptr), (60, 45))
    np.testing.assert_array_equal(grown.item_vectors[:40], loaded.item_vectors)
    grown.fit(UserBatches(wider, 20), verbose=0)
    assert np.isfinite(grown.score(wider)).all()


def test_tied_halves_the_item_tables():
    def tables(model):
        return sum(np.prod(v.shape) for v in model.trainable_variables if v.ndim == 2)

    plain = MultVAE(1000, 4, (8,))
    tied = MultVAE(1000, 4, (8,), tied=True)
    assert tables(tied) < 0.57 * tables(plain)
    np.testing.assert_array_equal(tied.item_vectors, numpy(tied.encoder.kernel))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "even"}, "`sampler` must be one of"),
        ({"num_sampled": 0}, "`num_sampled` must be an integer >= 1"),
        ({"likelihood": "gaussian"}, "estimates the multinomial likelihood"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_what_cannot_be_done(clicks):
    with pytest.raises(ValueError, match="`head` must be None or SampledSoftmax"):
        MultVAE(ITEMS, 3, (6,), head="some")
    with pytest.raises(ValueError, match="there must be one"):
        MultVAE(ITEMS, 3, (), tied=True)
    with pytest.raises(ValueError, match="is trained on UserBatches"):
        make()(clicks.toarray(), training=True)
    model = make()
    model.compile()
    with pytest.raises(ValueError, match="trained on the clicks that it reads"):
        model.fit(UserBatches(clicks, 20, targets=clicks[::-1]), verbose=0)
    with pytest.raises(ValueError, match="12 numbers >= 0"):
        make().candidates.set_popularity(np.ones(13))
