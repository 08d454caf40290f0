from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import contents
from keras import ops
from scipy import sparse

from benchmarks.reliability import forging
from keras_multvae import (
    EASE,
    BetaAnneal,
    FusedAdam,
    LinearPath,
    MultDAE,
    MultVAE,
    Recommender,
    SparseEASE,
    add_linear_path,
    evaluate_ranking,
)
from keras_multvae.data import (
    FoldIn,
    Interactions,
    Split,
    UserBatches,
    strong_generalization,
)
from keras_multvae.files import DamagedFileError, FolderInUseError, lock
from keras_multvae.training import Recipe, linear_path, train
from keras_multvae.training.trainer import record

RNG = np.random.default_rng(0)
TASTE = (np.arange(120)[:, None] + np.arange(20)) % 2 == 0
USERS, ITEMS = np.nonzero(TASTE & (RNG.random(TASTE.shape) < 0.7))
SPLIT = strong_generalization(Interactions.from_events(USERS, ITEMS), 30, 0)
MODEL = MultVAE.Config(latent_dim=4, hidden_dims=(8,))
RECIPE = Recipe(MODEL, epochs=6, batch_size=20, learning_rate=1e-2)

DAE = replace(RECIPE, model=MultDAE.Config(latent_dim=4))


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def test_gives_the_best_epoch(tmp_path):
    model, history = train(SPLIT, RECIPE, tmp_path / "state")
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in history] == [5, 10, 15, 20, 25, 30]
    best = max(row["val_ndcg_at_100"] for row in history)
    found = evaluate_ranking(model, SPLIT.validation).mean("ndcg@100")
    assert found == pytest.approx(best, abs=1e-6)
    assert best > 0.6


def test_beta_reaches_its_cap_after_half_of_the_training(tmp_path):
    _, history = train(SPLIT, RECIPE, tmp_path / "state")
    # 30 steps: cap 0.2 at the 15th. The log is the beta of an epoch's last step.
    expected = [0.2 * min(step - 1, 15) / 15 for step in (5, 10, 15, 20, 25, 30)]
    assert [row["beta"] for row in history] == pytest.approx(expected)
    assert Recipe(beta_cap=0.0).resolved_anneal_steps(10) == 0
    assert Recipe(anneal_steps=7).resolved_anneal_steps(10) == 7


@pytest.mark.parametrize(
    ("recipe", "save_every"), [(RECIPE, 0.0), (RECIPE, 1e9), (DAE, 0.0)]
)
def test_a_resumed_training_is_the_one_that_never_stopped(tmp_path, recipe, save_every):
    _, expected = train(SPLIT, recipe, tmp_path / "whole")
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        train(SPLIT, recipe, state, save_every=0.0, callbacks=[Kill(3)])
    # Killed again, with more epochs in the files or none.
    with pytest.raises(KeyboardInterrupt):
        train(
            SPLIT, recipe, state, resume=True, save_every=save_every,
            callbacks=[Kill(4)],
        )  # fmt: skip
    model, history = train(SPLIT, recipe, state, resume=True)
    assert len(history) == 6
    for row, wanted in zip(history, expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-5)
    best = max(row["val_ndcg_at_100"] for row in expected)
    found = evaluate_ranking(model, SPLIT.validation).mean("ndcg@100")
    assert found == pytest.approx(best, abs=1e-5)


def test_what_was_trained_can_be_trained_on(tmp_path):
    """After loading too, and with new items; the optimiser begins anew."""
    recipe = replace(RECIPE, epochs=1, learning_rate=0.03)
    model, _ = train(SPLIT, recipe, tmp_path / "state")
    made = Recommender(model, SPLIT.train.items, training=record(SPLIT, recipe))
    made.save(tmp_path / "model")
    # As earlier versions wrote it.
    plain = MultVAE.from_config(model.get_config())
    plain.set_weights(model.get_weights())
    Recommender(plain, made.items, training=made.training).save(tmp_path / "plain")
    more = Interactions.from_matrix(
        sparse.hstack([SPLIT.train.matrix, SPLIT.train.matrix[:, :2]])
    )
    for each in (
        model,
        Recommender.load(tmp_path / "model").model,
        Recommender.load(tmp_path / "plain").model,
    ):
        assert float(each.optimizer.learning_rate) == pytest.approx(0.03)
        assert len(each.optimizer.variables) == 2  # no moments, and no memory for them
        each.with_new_items(22).fit(UserBatches(more, 20), verbose=0)
        each.fit(UserBatches(SPLIT.train, 20), verbose=0)


def test_without_validation_the_last_epoch_counts(tmp_path):
    split = strong_generalization(Interactions.from_events(USERS, ITEMS), 0, 0)
    model, history = train(split, RECIPE, tmp_path / "state")
    assert "val_ndcg_at_100" not in history[-1]
    assert model.batches_seen == history[-1]["step"]
    model.compile()
    model.evaluate(UserBatches(split.train, 20), verbose=0)


def test_bad_resumes_are_named(tmp_path):
    with pytest.raises(ValueError, match="nothing to resume"):
        train(SPLIT, RECIPE, tmp_path / "none", resume=True)
    with pytest.raises(KeyboardInterrupt):
        train(SPLIT, RECIPE, tmp_path / "s", save_every=0.0, callbacks=[Kill(1)])
    other = replace(RECIPE, model=replace(MODEL, dropout=0.3))
    with pytest.raises(ValueError, match=r"dropout was 0\.5, now 0\.3"):
        train(SPLIT, other, tmp_path / "s", resume=True)
    interactions = Interactions.from_events(USERS, ITEMS)
    elsewhere = strong_generalization(interactions, 30, 0, seed=1)
    with pytest.raises(ValueError, match="began with other data"):
        train(elsewhere, RECIPE, tmp_path / "s", resume=True)
    for name in ("best.npz", "last.keras"):
        whole = (tmp_path / "s" / "saved" / name).read_bytes()
        (tmp_path / "s" / "saved" / name).write_bytes(whole[:100])
        with pytest.raises(DamagedFileError, match="damaged"):
            train(SPLIT, RECIPE, tmp_path / "s", resume=True)
        (tmp_path / "s" / "saved" / name).write_bytes(whole)
    _, history = train(SPLIT, RECIPE, tmp_path / "s", resume=True)
    assert len(history) == 6


def interrupted(state):
    with pytest.raises(KeyboardInterrupt):
        train(SPLIT, RECIPE, state, save_every=0.0, callbacks=[Kill(2)])
    return state


def test_a_state_is_held_against_itself(tmp_path):
    """Also one that was signed again: history, steps and weights are of one moment."""
    whole = interrupted(tmp_path / "whole")
    rows = (whole / "saved" / "history.csv").read_text().splitlines(keepends=True)
    damages = {
        "history.csv": "".join(rows[:-1]).encode(),
        "best.npz": b"",
        "last.keras": b"PK",
    }
    for name, content in damages.items():
        for signed in (True, False):
            state = tmp_path / f"{name} {signed}"
            shutil.copytree(whole, state)
            (state / "saved" / name).write_bytes(content)
            if signed:
                forging.sign(state / "saved")
            with pytest.raises(DamagedFileError, match=r"--overwrite") as error:
                train(SPLIT, RECIPE, state, resume=True)
            assert "\n" not in str(error.value)
            assert name in str(error.value) or signed
    for text in ("null", "[]", '{"settings": 3}', '{"settings": {}}'):
        (whole / "recipe.json").write_text(text)
        with pytest.raises(ValueError, match=r"train anew|damaged|other data"):
            train(SPLIT, RECIPE, whole, resume=True)


def test_what_a_kill_left_of_a_state_does_not_stop_a_training(tmp_path):
    for leftover in (".recipe.json.12-0123abcd.unfinished.json", "best.npz"):
        state = tmp_path / "state"
        state.mkdir()
        (state / leftover).touch()
        (tmp_path / ".state.0123abcd.unfinished").mkdir()
        _, history = train(SPLIT, replace(RECIPE, epochs=1), state)
        assert len(history) == 1
        assert [each.name for each in tmp_path.iterdir()] == ["state"]
        shutil.rmtree(state)


def test_one_training_a_state(tmp_path):
    state = interrupted(tmp_path / "state")
    before = contents(state)
    with lock(state), ThreadPoolExecutor(1) as other:
        for options in ({"resume": True}, {"overwrite": True}, {}):
            running = other.submit(train, SPLIT, RECIPE, state, **options)
            with pytest.raises(FolderInUseError, match="being written by process"):
                running.result()
    assert contents(state) == before


def test_an_interrupted_training_is_not_overwritten_by_itself(tmp_path):
    state = tmp_path / "deep" / "s"
    with pytest.raises(KeyboardInterrupt):
        train(SPLIT, RECIPE, state, save_every=0.0, callbacks=[Kill(1)])
    before = contents(state)
    with pytest.raises(FileExistsError, match=r"resume=True, or .* overwrite=True"):
        train(SPLIT, RECIPE, state)
    assert contents(state) == before
    with pytest.raises(KeyboardInterrupt):
        train(SPLIT, RECIPE, state, overwrite=True, callbacks=[Kill(1)])
    # That one had saved nothing yet.
    assert list((tmp_path / "deep").iterdir()) == []


def test_what_fails_before_anything_is_saved_leaves_nothing(tmp_path):
    counts = SPLIT.train.matrix * 3
    plays = Split(Interactions.from_matrix(counts, items=SPLIT.train.items))
    recipe = replace(RECIPE, model=MultDAE.Config(4, likelihood="logistic"))
    with pytest.raises(ValueError, match="LogisticNLL takes 0 and 1 alone"):
        train(plays, recipe, tmp_path / "a" / "b")
    inputs = SPLIT.validation.input
    none = replace(
        SPLIT,
        validation=FoldIn(inputs, inputs.select_entries(np.zeros(inputs.num_entries))),
    )
    with pytest.raises(ValueError, match="`targets` hold no entry"):
        train(none, RECIPE, tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_survives(tmp_path):
    (tmp_path / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="will not be replaced"):
        train(SPLIT, RECIPE, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "keep"


def test_a_diverged_training_is_an_error(tmp_path):
    recipe = replace(RECIPE, learning_rate=1e12)
    with pytest.raises(ValueError, match=r"loss became (nan|inf) in epoch \d"):
        train(SPLIT, recipe, tmp_path / "s")
    with pytest.raises(ValueError, match="learning_rate"):
        Recipe(learning_rate=float("nan"))


def test_a_recipe_makes_the_model_that_it_names():
    config = MultDAE.Config(4, l2=0.5, likelihood="logistic", dropout=0.1)
    dae = Recipe(config).build(12)
    assert isinstance(dae, MultDAE)
    config = dae.get_config()
    assert (config["l2"], config["dropout"], config["latent_dim"]) == (0.5, 0.1, 4)
    assert type(dae.likelihood).__name__ == "LogisticNLL"
    assert isinstance(RECIPE.build(12), MultVAE)
    with pytest.raises(ValueError, match=r"'MultXAE' is not known; known are .*EASE"):
        Recipe("MultXAE")
    with pytest.raises(TypeError, match="EASE is not trained by a Recipe"):
        Recipe("EASE")
    with pytest.raises(TypeError, match="must be the Config of a model"):
        Recipe(3)


def test_a_linear_path_is_what_validation_users_choose(monkeypatch):
    monkeypatch.setattr(linear_path, "DENSITIES", (0.2, 0.9))
    monkeypatch.setattr(linear_path, "WEIGHTS", (0.0, 2.0, 8.0))
    # Pieces of some users each.
    monkeypatch.setattr(linear_path, "SCORES", 4 * SPLIT.train.num_items)
    model = RECIPE.build(SPLIT.train.num_items)
    chosen = add_linear_path(model, SPLIT, LinearPath(l2=2.0))
    linear = EASE(SPLIT.train.num_items, 2.0, 0.5, 0.5).fit(SPLIT.train)
    values = {
        (density, weight): evaluate_ranking(
            model.with_linear_path(linear.cut(density), weight), SPLIT.validation
        ).mean("ndcg@100")
        for density in (0.2, 0.9)
        for weight in (0.0, 2.0, 8.0)
    }
    found = evaluate_ranking(chosen, SPLIT.validation).mean("ndcg@100")
    assert found == pytest.approx(max(values.values()), abs=1e-6)
    assert len(set(values.values())) > 1


def test_a_linear_path_needs_validation_users_or_settings():
    split = Split(SPLIT.train)
    model = RECIPE.build(SPLIT.train.num_items)
    with pytest.raises(ValueError, match="the split has none: give both in LinearPath"):
        add_linear_path(model, split)
    given = LinearPath(l2=2.0, neighbours=3, density=0.1, weight=1.5)
    linear = add_linear_path(model, split, given).linear_path
    assert float(ops.convert_to_numpy(linear.weight)) == 1.5
    sparse_ease = SparseEASE(SPLIT.train.num_items, 2.0, 0.5, 0.5, 3).fit(SPLIT.train)
    assert abs(linear.matrix() - sparse_ease.cut(0.1)).max() == 0


def test_patience_ends_a_training_also_one_that_is_resumed(tmp_path):
    history = [{"val_ndcg_at_100": value} for value in (0.1, 0.3, 0.2, 0.3)]
    recipe = replace(RECIPE, patience=2)
    assert [recipe.is_exhausted(history[:n]) for n in range(5)] == [False] * 4 + [True]
    assert not replace(RECIPE, patience=None).is_exhausted(history)
    # With a rate of almost 0 nothing gets better after the first epoch.
    still = replace(RECIPE, learning_rate=1e-30, patience=2, beta_cap=0.0)
    _, history = train(SPLIT, still, tmp_path / "state", save_every=0)
    assert len(history) == 3
    _, again = train(SPLIT, still, tmp_path / "state", resume=True)
    assert again == history


def test_users_weigh_by_their_clicks_and_the_rate_decays(tmp_path):
    recipe = replace(RECIPE, user_weight=1.0, decay="cosine", epochs=2)
    # Without validation users the last epoch is taken.
    model, _ = train(Split(SPLIT.train), recipe, tmp_path / "state")
    clicks = np.diff(SPLIT.train.matrix.indptr)
    weights = 1 / np.maximum(clicks, 1)
    by_hand = RECIPE.build(SPLIT.train.num_items)
    batches = UserBatches(
        SPLIT.train,
        RECIPE.batch_size,
        seed=RECIPE.seed,
        sample_weight=weights / weights.mean(),
    )
    steps = 2 * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(RECIPE.learning_rate, steps)
    by_hand.compile(FusedAdam(rate, epsilon=1e-8))
    annealing = BetaAnneal(recipe.beta_cap, recipe.resolved_anneal_steps(len(batches)))
    by_hand.fit(batches, epochs=2, callbacks=[annealing], verbose=0)
    x = SPLIT.validation.input.matrix
    np.testing.assert_allclose(model.score(x), by_hand.score(x), atol=1e-5)


@pytest.mark.parametrize(
    ("users", "batch_size", "epochs"),
    [(100, 25, 100), (483, 48, 100), (5_949, 500, 100), (116_677, 500, 85)],
)
def test_batches_and_epochs_fit_the_data(users, batch_size, epochs):
    assert Recipe().sizes(users) == (batch_size, epochs)
    assert Recipe(batch_size=7, epochs=3).sizes(users) == (7, 3)
    assert Recipe(partitions=4).sizes(users)[0] % 4 == 0
