"""Studies on tiny data: two models, a few trials of a few epochs."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from outside import FixedPath

from keras_multvae import Recipe, Recommender, evaluate_ranking, train, tune
from keras_multvae.cli import main
from keras_multvae.data import Interactions, save_prepared, strong_generalization
from keras_multvae.features import ItemFeatures
from keras_multvae.tuning import worker
from keras_multvae.tuning.folder import StudyFolder
from keras_multvae.tuning.quiet import optuna as quiet_optuna
from keras_multvae.tuning.space import Space

pytest.importorskip("optuna")

RNG = np.random.default_rng(0)
# Two tastes, so that there is something to learn.
LIKED = (np.arange(120)[:, None] + np.arange(24)) % 2 == 0
LIKED &= RNG.random(LIKED.shape) < 0.7
CLICKS = Interactions.from_events(*(axis.tolist() for axis in LIKED.nonzero()))
SPLIT = strong_generalization(CLICKS, 20, 20)
OTHER = strong_generalization(CLICKS, 21, 20)
RECIPE = Recipe(epochs=3, batch_size=25)
FEATURES = ItemFeatures.from_columns({"kind": ["even", "odd"] * 12})


def value_of(model):
    report = evaluate_ranking(model, SPLIT.validation, ["ndcg@100"])
    return report.mean("ndcg@100")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("tune") / "model"
    known = {"titles": {0: "A"}, "features": FEATURES}
    return out, tune(SPLIT, out, recipe=RECIPE, trials=2, **known)


def test_the_best_model_is_what_the_study_says(found):
    out, tuning = found
    done = [each for each in tuning.trials if each["state"] == "complete"]
    assert len(done) == 2
    assert tuning.value == max(each["value"] for each in done)
    recommender = Recommender.load(out)
    assert value_of(recommender.model) == pytest.approx(tuning.value, abs=1e-5)
    assert value_of(tuning.model) == pytest.approx(tuning.value, abs=1e-5)
    assert recommender.titles == {0: "A"}
    kinds = recommender.features["kind"].matrix
    assert (kinds != FEATURES["kind"].matrix).nnz == 0
    assert recommender.training.recipe == tuning.recipe
    kept, expected = recommender.histories, SPLIT.histories()
    assert kept.users == expected.users
    assert (kept.matrix != expected.matrix).nnz == 0
    # One model is kept, that of the best.
    assert len(list((out.parent / "model.tuning" / "models").iterdir())) == 1
    assert not list((out.parent / "model.tuning" / "workers").iterdir())


def test_the_recipe_trains_it_again(found, tmp_path):
    _, tuning = found
    again = Recipe.from_json(json.loads(json.dumps(tuning.recipe.to_json())))
    model, _ = train(SPLIT, again, tmp_path / "state")
    assert value_of(model) == pytest.approx(tuning.value, abs=1e-5)


@pytest.mark.once
def test_files_and_table(found):
    out, tuning = found
    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(len(tuning.trials)))
    with (out / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
    assert not (out / "importance.png").exists()
    assert "| trial | ndcg@100 | network alone | model |" in str(tuning)
    assert len(tuning.to_pandas()) == len(tuning.trials)


@pytest.mark.once
def test_a_study_goes_on_and_refuses_other_data(found):
    out, before = found
    with pytest.raises(FileExistsError, match="go on with it"):
        tune(SPLIT, out)
    with pytest.raises(ValueError, match="other data"):
        tune(OTHER, out, resume=True)
    with pytest.raises(ValueError, match="models that it began with"):
        tune(SPLIT, out, models=["MultDAE"], resume=True)
    with pytest.raises(ValueError, match="recipe that it began with"):
        tune(SPLIT, out, recipe=Recipe(), resume=True)
    after = tune(SPLIT, out, trials=4, resume=True)
    assert after.trials[:2] == before.trials[:2]
    assert sum(e["state"] in ("complete", "pruned") for e in after.trials) == 4
    assert after.value >= before.value
    if sum(e["state"] == "complete" for e in after.trials) == 4:
        assert sum(after.importances.values()) == pytest.approx(1)
        assert (out / "importance.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.once
def test_it_keeps_its_time(tmp_path, monkeypatch):
    # Every look at the clock costs a second, so an epoch takes a few.
    now = [1000.0]

    def clock():
        now[0] += 1
        return now[0]

    monkeypatch.setattr(worker, "clock", clock)
    recipe = Recipe(epochs=500, batch_size=40, patience=500)
    tuning = tune(SPLIT, tmp_path / "m", 2, models=["MultDAE"], recipe=recipe)
    assert now[0] < 1000 + 120 + 3
    # The first is begun anew with what fits, and those that follow are made to fit.
    for each in tuning.trials[:2]:
        assert each["epochs"] <= 120 * worker.TRAINING
        assert each["seconds"] < 120 * worker.TRAINING + 3
    assert sum(each["state"] == "complete" for each in tuning.trials) > 1
    assert not any(each["state"] == "running" for each in tuning.trials)


@pytest.mark.once
def test_what_did_best_comes_first():
    """By the size of the catalogue; whichever model has the settings."""
    space = Space(("MultVAE", "MultDAE", "RecVAE"), Recipe())
    small, large = space.guesses(5_000), space.guesses(50_000)
    assert [each["model"] for each in small[:3]] == ["RecVAE", "MultVAE", "MultDAE"]
    assert small[0]["implicit_slim"] == "updates" and small[1]["dropout"] == 0.7
    assert large[0]["model"] != "RecVAE" and large[0]["hidden_dims"] == ""
    assert len(large) > len(small)


@pytest.mark.once
def test_a_falling_rate_is_waited_for():
    space = Space(("MultVAE",), Recipe(epochs=80))
    constant, falling = Recipe(epochs=80), Recipe(epochs=80, decay="cosine")
    assert space.patient(constant).patience == 20
    assert space.patient(falling).patience == 40
    given = Space(("MultVAE",), Recipe(patience=3))
    assert given.patient(falling).patience is None  # `suggest` has given it


@pytest.mark.once
def test_without_a_finished_trial_one_line_says_so(tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise ValueError("no luck")

    monkeypatch.setattr(worker, "train", fails)
    with pytest.raises(RuntimeError, match=r"3 trials in a row failed.*no luck"):
        tune(SPLIT, tmp_path / "m", trials=4)
    monkeypatch.setattr(worker.Worker, "run", lambda self: None)
    with pytest.raises(ValueError, match=r"No trial of the study in .* is finished"):
        tune(SPLIT, tmp_path / "m", resume=True)
    assert not (tmp_path / "m").exists()


@pytest.mark.once
def test_hopeless_trainings_are_ended(tmp_path, monkeypatch):
    asked = iter([False] * 3 + [True])
    monkeypatch.setattr(worker, "is_hopeless", lambda *_: next(asked, False))
    tuning = tune(SPLIT, tmp_path / "m", models=["MultDAE"], recipe=RECIPE, trials=2)
    assert [e["state"] for e in tuning.trials[:2]] == ["complete", "pruned"]


@pytest.mark.once
def test_a_model_from_outside(tmp_path):
    recipe = Recipe(FixedPath.Config(units=6), epochs=2, batch_size=25)
    tuning = tune(SPLIT, tmp_path / "m", models=["FixedPath"], recipe=recipe, trials=1)
    # `units` is no name of ours, so it stays as the recipe has it.
    assert tuning.recipe.model == FixedPath.Config(units=6)
    assert "units" not in tuning.trials[0]
    assert "beta_cap" not in tuning.trials[0]
    with pytest.raises(ValueError, match="`models` must be some of"):
        tune(SPLIT, tmp_path / "n", models=["EASE"])


@pytest.mark.once
def test_features_of_other_items_are_refused_at_once(tmp_path):
    few = FEATURES.take(np.arange(5))
    with pytest.raises(ValueError, match="features"):
        tune(SPLIT, tmp_path / "m", features=few)
    assert not (tmp_path / "m.tuning").exists()


@pytest.mark.once
def test_missing_optuna_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r'pip install "keras_multvae\[tune\]"'):
        tune(SPLIT, tmp_path / "m")
    assert not (tmp_path / "m.tuning").exists()


@pytest.mark.once
def test_killed_and_resumed_on_the_command_line(tmp_path, capsys):
    save_prepared(SPLIT, tmp_path / "prepared")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"training": {"epochs": 100000, "patience": 100000}}))
    arguments = ["tune", f"{tmp_path}/prepared", "--out", f"{tmp_path}/model"]
    arguments += ["--models", "MultDAE", "--json"]
    command = [sys.executable, "-m", "keras_multvae", *arguments]
    process = subprocess.Popen([*command, "--recipe", str(recipe)])
    journal = tmp_path / "model.tuning" / "journal.log"
    limit = time.monotonic() + 120
    while not journal.exists() or b'"intermediate_value"' not in journal.read_bytes():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = StudyFolder.open(tmp_path / "model.tuning")
    with quiet_optuna() as optuna:
        study = folder.study(optuna)
        (killed,) = (t for t in study.get_trials() if t.state.name == "RUNNING")
        assert folder.bury_the_dead(study, optuna) == 1
        states = [t.state.name for t in study.get_trials()]
        assert "RUNNING" not in states
        assert study.get_trials()[-1].system_attrs["fixed_params"] == killed.params
    capsys.readouterr()
    assert main([*arguments, "--resume", "--minutes", "0.1", "--trials", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert answer["recipe"]["model"] == "MultDAE"
    model = Recommender.load(tmp_path / "model").model
    assert value_of(model) == pytest.approx(answer["ndcg@100"], abs=1e-5)


@pytest.mark.once
def test_two_processes_on_one_study(tmp_path):
    tuning = tune(
        SPLIT,
        tmp_path / "m",
        models=["MultDAE", "FixedPath"],
        recipe=RECIPE,
        trials=4,
        processes=2,
    )
    assert sum(e["state"] in ("complete", "pruned") for e in tuning.trials) >= 4
    with quiet_optuna() as optuna:
        study = StudyFolder.open(tmp_path / "m.tuning").study(optuna)
        workers = {t.user_attrs.get("worker") for t in study.get_trials()} - {None}
    assert len(workers) == 2
    assert str(os.getpid()) not in {name.rsplit("-", 2)[1] for name in workers}
    assert value_of(tuning.model) == pytest.approx(tuning.value, abs=1e-5)
