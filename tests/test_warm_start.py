"""A training that begins with an earlier model, on data that have grown."""

from __future__ import annotations

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import contents

from keras_multvae import (
    EASE,
    MultDAE,
    MultVAE,
    Popularity,
    Recommender,
    RecVAE,
    SampledSoftmax,
)
from keras_multvae.cli import main
from keras_multvae.data import (
    Interactions,
    Split,
    UserBatches,
    save_prepared,
    strong_generalization,
)
from keras_multvae.training import Recipe, train
from keras_multvae.training.record import TrainingRecord, read_recipe
from keras_multvae.training.trainer import record

RNG = np.random.default_rng(0)


def split_of(items, users=90, seed=0):
    """Clicks of made-up users on these items."""
    liked = np.random.default_rng(seed).random((users, len(items))) < 0.5
    rows, columns = liked.nonzero()
    ids = [items[column] for column in columns]
    return strong_generalization(Interactions.from_events(rows, ids), 20, 0, seed=seed)


BEFORE = [f"i{number:02}" for number in range(12)]
# Two are gone, two are new, and the order of first appearance is another.
AFTER = [*BEFORE[:3], "new1", *BEFORE[5:], "new2"]
OLD, NEW = split_of(BEFORE), split_of(AFTER[::-1], seed=3)
# Every weight stays as it is to float32.
STILL = Recipe(epochs=1, batch_size=20, learning_rate=1e-30, seed=7)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A recommender that was trained by a recipe, made when it is asked for."""
    made = {}

    def get(model):
        if model not in made:
            recipe = replace(STILL, model=model, learning_rate=1e-2, epochs=3)
            state = tmp_path_factory.mktemp("earlier") / "state"
            trained, _ = train(OLD, recipe, state)
            made[model] = Recommender(
                trained, OLD.train.items, training=record(OLD, recipe)
            )
        return made[model]

    return get


def logits(recommender, histories):
    model, items = recommender.model, recommender.items
    rows = Interactions.from_events(
        [user for user, each in enumerate(histories) for _ in each],
        [item for each in histories for item in each],
    ).with_items(items)
    return model.predict(UserBatches(rows, 10, shuffle=False), verbose=0)


@pytest.mark.parametrize(
    "config",
    [
        # As many hidden units as items: the axis of the items is not told by its size.
        MultVAE.Config(4, (12,)),
        MultDAE.Config(4),
        RecVAE.Config(4, 12),
        MultVAE.Config(4, (12,), tied=True, head=SampledSoftmax(8)),
    ],
    ids=["vae", "dae", "recvae", "sampled"],
)
def test_known_items_keep_their_weights_and_new_ones_get_the_mean(
    earlier, tmp_path, config
):
    before = earlier(config)
    model, _ = train(
        NEW, replace(STILL, model=config), tmp_path / "state", warm_start=before
    )
    after = Recommender(model, NEW.train.items)
    assert set(after.items.ids) == set(AFTER) != set(before.items.ids)
    histories = [["i00", "i07"], ["i11"], ["i05", "i02", "i09"]]
    old, new = logits(before, histories), logits(after, histories)
    for item in AFTER:
        column = new[:, after.items.index([item])[0]]
        expected = old.mean(axis=1)
        if item in BEFORE:
            expected = old[:, before.items.index([item])[0]]
        np.testing.assert_allclose(column, expected, atol=1e-5)


def test_beta_goes_on_and_a_linear_path_is_left_behind(earlier, tmp_path):
    before = earlier(MultVAE.Config(4, (12,)))
    steps = before.model.batches_seen
    path = EASE(12, l2=1.0).fit(OLD.train).cut(0.5)
    with_path = Recommender(before.model.with_linear_path(path), before.items)
    recipe = replace(STILL, model=MultVAE.Config(4, (12,)), epochs=2)
    found, history = train(NEW, recipe, tmp_path / "s", warm_start=with_path)
    assert found.linear_path is None
    assert found.batches_seen >= steps + history[0]["step"]
    assert history[0]["step"] == -(-NEW.train.num_users // 20)
    # Cap 0.2 after half of the training's own steps, by the count that goes on.
    half = 2 * history[0]["step"] / 2
    expected = 0.2 * min((steps + history[0]["step"] - 1) / half, 1)
    assert history[0]["beta"] == pytest.approx(expected)


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_an_interrupted_one_is_resumed_with_the_same_model_alone(earlier, tmp_path):
    before = earlier(MultDAE.Config(4))
    recipe = replace(
        STILL, model=MultDAE.Config(4), epochs=4, learning_rate=1e-2, seed=1
    )
    _, expected = train(NEW, recipe, tmp_path / "whole", warm_start=before)
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        train(NEW, recipe, state, save_every=0.0, callbacks=[Kill()], warm_start=before)
    other = Recommender(MultDAE(12, 4, seed=5), before.items)
    for wrong in (None, other):
        with pytest.raises(ValueError, match="began with another warm start"):
            train(NEW, recipe, state, resume=True, warm_start=wrong)
    _, history = train(NEW, recipe, state, resume=True, warm_start=before)
    for row, wanted in zip(history, expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-5)


def test_what_cannot_be_begun_with_is_one_line_and_leaves_nothing(earlier, tmp_path):
    dae = earlier(MultDAE.Config(4))
    popular = Recommender(Popularity(12).fit(OLD.train), OLD.train.items)
    ints = Split(Interactions.from_events([1, 1, 2, 2], [7, 8, 7, 8]))
    for split, config, start, error, text in (
        (NEW, MultVAE.Config(4), dae, ValueError, "A MultVAE is to be .* is a MultDAE"),
        (NEW, MultDAE.Config(4), popular, ValueError, "is a Popularity"),
        (NEW, MultDAE.Config(4), dae.model, TypeError, "must be a Recommender"),
        (NEW, MultDAE.Config(3), dae, ValueError, "latent_dim is 4 there and 3 here"),
        (ints, MultDAE.Config(4), dae, ValueError, "knows none of the items: .* 'i"),
    ):
        recipe = replace(STILL, model=config)
        with pytest.raises(error, match=text):
            train(split, recipe, tmp_path / "state", warm_start=start)
    assert list(tmp_path.iterdir()) == []


def test_from_the_command_line(earlier, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    earlier(MultVAE.Config(4, (12,))).save("model")
    save_prepared(NEW, "prepared")
    # Its recipe is the quickest way to its settings.
    train_it = ["train", "prepared", "--out", "next", "--recipe", "model"]
    assert main([*train_it, "--warm-start", "model", "--epochs", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["known_items"], found["new_items"], found["gone_items"]) == (10, 2, 2)
    assert "10 items began with the weights of model, 2 are new to it, 2 of" in err
    kept = TrainingRecord.read(tmp_path / "next")
    assert len(kept.warm_start) == 64
    assert kept.warm_start in (tmp_path / "next" / "recipe.json").read_text()
    assert read_recipe(tmp_path / "next").epochs == 1
    before = contents(tmp_path)
    refused = [*train_it[:3], "other", "--warm-start", "model", "--latent-dim", "9"]
    assert main(refused) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "of another size: latent_dim is 4 there and 9 here, hidden_dims is" in err
    assert contents(tmp_path) == before
