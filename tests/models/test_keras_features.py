"""What Keras offers its models works with ours."""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
import pytest
from conftest import make_clicks

from keras_multvae import (
    BetaAnneal,
    CyclicalBeta,
    FusedAdam,
    GaussianNLL,
    MultDAE,
    MultVAE,
)
from keras_multvae.data import UserBatches

BACKEND = keras.backend.backend()
CLICKS = make_clicks(40, 12)


def make_model(**kwargs):
    return MultVAE(12, **{"latent_dim": 3, "hidden_dims": (6,), "seed": 1, **kwargs})


def train(model, epochs=2, **kwargs):
    return model.fit(UserBatches(CLICKS, 10), epochs=epochs, verbose=0, **kwargs)


def weights(model):
    return [v.numpy() for v in model.trainable_variables]


def test_the_same_seed_gives_the_same_training():
    histories = []
    for _ in range(2):
        model = make_model()
        model.compile()
        histories.append(train(model, callbacks=[BetaAnneal(total_steps=20)]).history)
    assert histories[0] == histories[1]


def test_saving_needs_no_custom_objects(tmp_path):
    model = make_model(likelihood=GaussianNLL(3.0, 0.5), dropout=0.3)
    model.compile()
    train(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.score(CLICKS), model.score(CLICKS))
    assert loaded.batches_seen == 8
    # Compiled as it was: optimiser state and epsilon, and it can train on.
    assert loaded.optimizer.epsilon == 1e-8
    assert int(loaded.optimizer.iterations) == 8
    train(loaded)


def test_a_model_that_was_not_trained_yet_is_saved_without_moments(tmp_path):
    model = make_model()
    model.compile(FusedAdam(3e-3))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")  # without a warning
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)
    assert float(loaded.optimizer.learning_rate) == pytest.approx(3e-3)
    losses = [train(each).history["loss"] for each in (model, loaded)]
    assert losses[0] == pytest.approx(losses[1])


def test_hdf5_is_refused_and_harms_nothing(tmp_path):
    model = make_model()
    model.compile()
    for name in ("model.h5", "model.hdf5"):
        with pytest.raises(ValueError, match=r"saved as a \.keras file"):
            model.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.score(CLICKS), model.score(CLICKS))


def test_what_not_every_backend_computes_in_is_refused_alike():
    for kind in (MultVAE, MultDAE):
        with pytest.raises(ValueError, match=r"must be float32, or .*dtype='float64'"):
            kind(12, dtype="float64")
        with pytest.raises(ValueError, match=r"or a policy as mixed_float16"):
            kind(12, dtype="float16")


def test_integers_of_numpy_are_integers():
    wanted = make_model(seed=3)
    model = MultVAE(
        np.int32(12), np.int64(3), np.array([6]), np.float32(0.5), seed=np.int64(3)
    )
    assert model.get_config().keys() == wanted.get_config().keys()
    assert model.seed == 3 and type(model.seed) is int
    np.testing.assert_array_equal(model.score(CLICKS), wanted.score(CLICKS))
    schedule = BetaAnneal(np.float32(0.5), total_steps=np.int64(100)).schedule
    assert schedule.parameters()[:2] == (0.5, 100.0)
    assert CyclicalBeta(np.float64(0.5), np.int16(10), np.float32(0.5))(5) == 0.5
    with pytest.raises(ValueError, match=r"sequence of integers.*hidden_dims=600"):
        MultVAE(6, hidden_dims=600)
    with pytest.raises(ValueError, match=r"an integer\. Received: seed=True"):
        MultVAE(6, seed=True)
    assert model.with_new_items(np.int64(13)).num_items == 13
    likelihood = GaussianNLL(np.float32(4), np.int64(1)).get_config()
    assert {type(each) for each in likelihood.values()} >= {float}
    assert UserBatches(CLICKS, np.int64(7), seed=np.int64(2)).num_batches == 6


def test_weights_alone_can_be_saved(tmp_path):
    model, other = make_model(), make_model(seed=2)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.score(CLICKS), model.score(CLICKS))


def test_clone_has_the_config_and_the_initial_weights():
    model = make_model()
    clone = keras.models.clone_model(model)
    assert isinstance(clone, MultVAE)
    assert clone.get_config() == model.get_config()
    for a, b in zip(weights(model), weights(clone), strict=True):
        np.testing.assert_array_equal(a, b)


def test_summary_works_right_after_construction():
    lines = []
    make_model().summary(print_fn=lambda line, **_: lines.append(line))
    size = (12 * 6 + 6) + (6 * 6 + 6) + (3 * 6 + 6) + (6 * 12 + 12)
    assert f"Trainable params: {size}" in "\n".join(lines)


# torch.compile needs more than a minute for a model of any size.
SLOW = [pytest.mark.slow] if BACKEND == "torch" else []


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"jit_compile": True}, marks=SLOW),
        {"jit_compile": False},
        {"run_eagerly": True},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")  # torch.compile warns of its own affairs
def test_compiled_and_eager_steps_agree(options):
    expected, model = make_model(dropout=0.0), make_model(dropout=0.0)
    for each in (expected, model):
        # No noise to speak of: XLA draws other numbers from the same seed.
        each.encoder.stack[-1].bias.assign([0.0] * 3 + [-30.0] * 3)
    expected.compile(keras.optimizers.SGD(0.1))
    model.compile(keras.optimizers.SGD(0.1), **options)
    a = train(expected, epochs=1).history["nll"]
    b = train(model, epochs=1).history["nll"]
    assert a == pytest.approx(b, rel=1e-4)
    evaluated = model.evaluate(
        UserBatches(CLICKS, 10, targets=CLICKS.multiply(np.arange(12) > 3)),
        verbose=0,
        return_dict=True,
    )
    assert evaluated["recall_at_20"] == 0  # every target has been seen


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("form", ["dense", "ragged"])
def test_mixed_precision_trains_close_to_float32(policy, form):
    losses = []
    for dtype in ("float32", policy):
        model = make_model(dtype=dtype, dropout=0.0)
        model.compile()
        data = UserBatches(CLICKS, 40) if form == "ragged" else CLICKS.toarray()
        size = 40 if form == "dense" else None
        history = model.fit(data, batch_size=size, shuffle=False, verbose=0)
        losses.append(history.history["loss"][0])
        logits = model.predict(data, verbose=0)
        assert logits.dtype == "float32"
        assert np.isfinite(logits).all()
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert model.encoder.kernel.dtype == "float32"


def test_early_stopping_and_checkpoints_watch_the_ranking(tmp_path):
    targets = make_clicks(40, 12, seed=4)
    model = make_model()
    model.compile()
    stop = keras.callbacks.EarlyStopping("val_ndcg_at_100", patience=0)
    keep = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="val_ndcg_at_100", save_best_only=True
    )
    history = train(
        model,
        epochs=50,
        validation_data=UserBatches(CLICKS, 10, targets=targets),
        callbacks=[stop, keep],
    ).history["val_ndcg_at_100"]
    # Up is better: it stopped at the first epoch that did not improve.
    assert len(history) < 50
    assert all(a < b for a, b in pairwise(history[:-1]))
    best = keras.saving.load_model(tmp_path / "best.keras").evaluate(
        UserBatches(CLICKS, 10, targets=targets), verbose=0, return_dict=True
    )
    assert best["ndcg_at_100"] == pytest.approx(max(history), abs=1e-6)


def test_backup_and_restore_goes_on_at_the_right_beta(tmp_path):
    class Killed(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def callbacks():
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return [backup, BetaAnneal(1.0, 100)]

    model = make_model()
    model.compile()
    with pytest.raises(KeyboardInterrupt):
        train(model, epochs=4, callbacks=[*callbacks(), Killed()])
    resumed = make_model()
    resumed.compile()
    history = train(resumed, epochs=4, callbacks=callbacks())
    np.testing.assert_allclose(history.history["beta"], [0.11, 0.15], rtol=1e-6)


def test_a_build_function_of_a_tuner_works():
    def build(latent_dim, width):
        model = MultVAE(12, latent_dim, (width,), seed=1)
        model.compile()
        return model

    for latent_dim, width in ((2, 4), (3, 5)):
        assert np.isfinite(train(build(latent_dim, width)).history["loss"]).all()


def dense_batches(kind):
    rows = CLICKS.toarray()
    if kind == "numpy":
        return {"x": rows, "batch_size": 10}
    if kind == "tf.data":
        tf = pytest.importorskip("tensorflow")
        return {"x": tf.data.Dataset.from_tensor_slices(rows).batch(10)}
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(rows))
    return {"x": torch.utils.data.DataLoader(data, batch_size=10)}


@pytest.mark.parametrize("kind", ["numpy", "tf.data", "DataLoader"])
def test_dense_rows_of_any_kind_train_as_sparse_ones_do(kind):
    dense, sparse = make_model(dropout=0.0), make_model(dropout=0.0)
    for model in (dense, sparse):
        model.compile(keras.optimizers.SGD(0.1))
    dense.fit(**dense_batches(kind), shuffle=False, verbose=0)
    sparse.fit(UserBatches(CLICKS, 10, shuffle=False), verbose=0)
    for a, b in zip(weights(dense), weights(sparse), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("workers", [{"workers": 2}, {"max_queue_size": 2}])
def test_workers_do_not_change_the_training(workers):
    losses = []
    for options in ({}, workers):
        model = make_model()
        model.compile()
        batches = UserBatches(CLICKS, 10, **options)
        losses.append(model.fit(batches, epochs=3, verbose=0).history["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
