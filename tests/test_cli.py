"""The command line, called in this process; one test calls it as a program."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from answers import answer, failure
from conftest import contents, pairs

import keras_multvae
from keras_multvae import EASE, LinearPath, MultDAE, Recommender
from keras_multvae.cli import main
from keras_multvae.data import load_prepared

RNG = np.random.default_rng(0)
TASTE = (np.arange(80)[:, None] + np.arange(20)) % 2 == 0
USERS, ITEMS = np.nonzero(TASTE & (RNG.random(TASTE.shape) < 0.8))
TRAIN = ["--epochs", "2", "--batch-size", "20", "--latent-dim", "3"]
TRAIN += ["--hidden-dims", "8", "--learning-rate", "0.01"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with ratings.csv, films.csv, prepared/ and model/."""
    folder = tmp_path_factory.mktemp("cli")
    with (folder / "ratings.csv").open("w") as file:
        file.write("user,film,stars\n")
        for user, item in zip(USERS, ITEMS, strict=True):
            file.write(f"{user},f{item},{5 if (user + item) % 7 else 1}\n")
    with (folder / "films.csv").open("w") as file:
        file.write("film,name\n")
        file.writelines(f'f{i},"Film, the {i}th"\n' for i in range(20))
    prepare(folder)
    assert (
        main(["train", f"{folder}/prepared", "--out", f"{folder}/model", *TRAIN]) == 0
    )
    return folder


def prepare(folder, *more, out="prepared"):
    arguments = ["prepare", f"{folder}/ratings.csv", "--out", f"{folder}/{out}"]
    arguments += ["--user-column", "user", "--item-column", "film"]
    arguments += ["--rating-column", "stars", "--min-rating", "4"]
    arguments += ["--items", f"{folder}/films.csv", "--title-column", "name"]
    assert main([*arguments, *more]) == 0


def test_prepare_reports_its_counts(folder, capsys, tmp_path):
    capsys.readouterr()
    prepare(folder, "--validation-users", "5", "--test-users", "7", "--json", out="p2")
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    split = load_prepared(folder / "p2").split
    assert found["train_users"] == split.train.num_users
    assert found["train_users"] == found["counts"]["users"] - 12
    assert (found["validation_users"], found["test_users"]) == (5, 7)
    assert found["counts"]["events"] == len(USERS)
    assert load_prepared(folder / "p2").titles["f3"] == "Film, the 3th"


def test_held_out_users_default_to_a_tenth(folder):
    split = load_prepared(folder / "prepared").split
    everybody = split.train.num_users + split.validation.num_users
    everybody += split.test.num_users
    assert split.validation.num_users == split.test.num_users == everybody // 10


def test_train_writes_history_and_plot(folder):
    with (folder / "model" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"step", "loss", "nll", "kl", "beta", "val_ndcg_at_100"} <= set(rows[0])
    assert (folder / "model" / "training.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "model.training").exists()


def test_train_keeps_histories_unless_told_otherwise(folder, capsys):
    split = load_prepared(folder / "prepared").split
    kept = Recommender.load(folder / "model").histories
    sides = [split.train]
    for part in (split.validation, split.test):
        sides += [part.input, part.targets]
    # No user of one part is in another.
    assert pairs(kept) == set().union(*map(pairs, sides))
    assert kept.num_entries == sum(side.num_entries for side in sides)
    out = folder / "forgetful"
    arguments = ("train", folder / "prepared", "--out", out, *TRAIN)
    answer(capsys, *arguments, "--no-histories")
    assert Recommender.load(out).histories is None
    assert not (out / "histories").exists()


def test_train_tells_every_epoch_where_there_is_no_terminal(folder, capsys, tmp_path):
    train = ["train", folder / "prepared", "--out", tmp_path / "m", *TRAIN]
    # With a rate of almost 0 nothing gets better after the first epoch.
    still = ["--epochs", "9", "--patience", "2", "--learning-rate", "1e-30"]
    (found,) = answer(capsys, *train, *still, "--beta-cap", "0")
    assert found["epochs"] == 3
    answer(capsys, *train, "--overwrite", "--tensorboard", tmp_path / "logs")
    assert len(list(tmp_path.glob("logs/*/events.out.tfevents.*"))) == 2
    capsys.readouterr()
    assert main([*map(str, train), "--overwrite"]) == 0
    lines = capsys.readouterr().err.splitlines()
    number, time = r"[\d,]+", r"\d:\d\d:\d\d"
    for epoch, line in enumerate(lines, start=1):
        assert re.fullmatch(
            rf"epoch {epoch} of 2: loss \d+\.\d{{4}}, validation NDCG@100 0\.\d{{4}}, "
            rf"{number} users/s, {time} left",
            line,
        )
    assert len(lines) == 2


def test_a_training_that_fails_leaves_no_curves(folder, capsys, tmp_path):
    train = ["train", folder / "prepared", "--out", tmp_path / "m", *TRAIN]
    train += ["--tensorboard", tmp_path / "deep" / "logs", "--learning-rate", "1e12"]
    assert "diverged" in failure(capsys, *train)
    assert list(tmp_path.iterdir()) == []


def test_a_multdae_trains_and_recommends(folder, capsys):
    out = folder / "dae"
    arguments = ("train", folder / "prepared", "--out", out, *TRAIN)
    (found,) = answer(capsys, *arguments, "--model", "MultDAE", "--l2", "0.001")
    assert "beta" not in found["best"]
    model = Recommender.load(out).model
    assert isinstance(model, MultDAE)
    assert model.l2 == 0.001
    assert (out / "training.png").read_bytes().startswith(b"\x89PNG")


def test_a_linear_path_is_trained_kept_and_exported(folder, capsys):
    out, prepared = folder / "both", folder / "prepared"
    path = ("--linear-path", "ease", "--linear-l2", "20", "--linear-density", "0.5")
    answer(capsys, "train", prepared, "--out", out, *TRAIN, *path)
    recommender = Recommender.load(out)
    recipe = recommender.training.recipe
    assert recipe.linear_path == LinearPath(l2=20.0, density=0.5)
    linear = recommender.model.linear_path
    split = load_prepared(prepared).split
    expected = EASE(split.train.num_items, 20.0, 0.5, 0.5).fit(split.train).cut(0.5)
    assert abs(linear.matrix() - expected).max() < 1e-6
    # Trained by the same recipe it is the same again.
    answer(capsys, "train", prepared, "--out", folder / "again", "--recipe", out)
    again = Recommender.load(folder / "again").model
    np.testing.assert_allclose(
        again.score(split.test.input.matrix),
        recommender.model.score(split.test.input.matrix),
        atol=1e-5,
    )


def test_settings_of_a_linear_path_need_one(folder, capsys):
    arguments = ("train", folder / "prepared", "--out", folder / "no", *TRAIN)
    line = failure(capsys, *arguments, "--linear-l2", "20")
    assert "--linear-l2 goes with --linear-path ease" in line


def test_train_reports_json(folder, capsys):
    out = folder / "model2"
    (found,) = answer(capsys, "train", folder / "prepared", "--out", out, *TRAIN)
    assert found["epochs"] == 2
    assert found["best"]["epoch"] in (1, 2)


def test_evaluate_prints_what_the_readme_says(folder, capsys):
    (found,) = answer(capsys, "evaluate", folder / "model", folder / "prepared")
    assert list(found) == ["users", "recall@20", "recall@50", "ndcg@100"]
    assert found["users"] == load_prepared(folder / "prepared").split.test.num_users
    assert 0 < found["ndcg@100"]["mean"] <= 1
    assert found["ndcg@100"]["stderr"] > 0
    assert main(["evaluate", f"{folder}/model", f"{folder}/prepared"]) == 0
    assert "ndcg@100" in capsys.readouterr().out


@pytest.mark.once
def test_ids_that_are_none_are_named(capsys, tmp_path):
    (tmp_path / "clicks.csv").write_text("user_id,item_id\n1,7\n,8\n")
    line = failure(capsys, "prepare", tmp_path / "clicks.csv", "--out", tmp_path / "p")
    assert "Bad user ids" in line and "at row 1" in line


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["recommend", "model", "-k", "0"], "an integer >= 1, not '0'"),
        (["train", "p", "--out", "m", "--epochs", "0"], "an integer >= 1, not '0'"),
        (["train", "p", "--out", "m", "--epochs", "x"], "an integer >= 1, not 'x'"),
        (["train", "p", "--out", "m", "--dropout", "1"], "[0, 1), not '1'"),
        (["train", "p", "--out", "m", "--learning-rate", "nan"], "> 0, not 'nan'"),
        (["train", "p", "--out", "m", "--beta-cap", "-1"], ">= 0, not '-1'"),
        (["prepare", "r", "--out", "p", "--min-rating", "4"], "--rating-column"),
        (["train", "p", "--out", "m", "--likelihood", "poisson"], "invalid choice"),
        (["prepare", "r.csv"], "--out"),
        (["recommend", "m", "--all", "--engine", "ray"], "needs --out FOLDER"),
        (["recommend", "m", "--all", "--workers", "2"], "need --engine ray"),
        (["nonsense"], "invalid choice"),
        ([], "COMMAND"),
    ],
)
def test_bad_use_exits_with_2(capsys, arguments, text):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert text in capsys.readouterr().err


def test_failures_are_one_line(folder, capsys, tmp_path):
    model, prepared = folder / "model", folder / "prepared"
    missing = failure(capsys, "evaluate", tmp_path / "none", prepared)
    assert "There is no folder" in missing
    assert "no interrupted training" in failure(
        capsys, "train", prepared, "--out", tmp_path / "m", "--resume"
    )
    assert "no column 'nosuch'" in failure(
        capsys, "prepare", folder / "ratings.csv", "--out", tmp_path / "p",
        "--user-column", "nosuch", "--item-column", "film",
    )  # fmt: skip
    assert "at least one user must be left" in failure(
        capsys, "prepare", folder / "ratings.csv", "--out", tmp_path / "p",
        "--user-column", "user", "--item-column", "film", "--test-users", "80",
    )  # fmt: skip
    assert "recall@x" in failure(
        capsys, "evaluate", model, prepared, "--metrics", "recall@x"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_killed_training_resumes(folder, capsys, tmp_path, monkeypatch):
    """The same history as that of a training that was not killed."""
    prepared, out = folder / "prepared", tmp_path / "model"
    from keras_multvae.cli.output import TrainingProgress
    from keras_multvae.training import checkpoint

    whole = TRAIN.copy()
    whole[1] = "4"

    def kill(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "on_epoch_end", kill)
        patch.setattr(checkpoint.time, "monotonic", iter(range(0, 10**6, 100)).__next__)
        assert main(["train", str(prepared), "--out", str(out), *whole]) == 1
    error = capsys.readouterr().err
    assert "interrupted. What was trained until the last save is in" in error
    assert "--resume" in error
    assert not out.exists()
    state = contents(tmp_path)
    text = failure(capsys, "train", prepared, "--out", out, *whole)
    assert "Go on with --resume, or begin anew with --overwrite" in text
    assert contents(tmp_path) == state
    (found,) = answer(capsys, "train", prepared, "--out", out, *whole, "--resume")
    assert found["epochs"] == 4
    with (out / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == list("1234")


def test_a_model_is_replaced_only_where_that_is_asked_for(folder, capsys, tmp_path):
    prepared, out = folder / "prepared", tmp_path / "deep" / "model"
    train = ["train", prepared, "--out", out, *TRAIN]
    answer(capsys, *train, "--overwrite")  # of nothing
    before = contents(tmp_path)
    assert "holds a model. Replace it with --overwrite" in failure(capsys, *train)
    assert contents(tmp_path) == before
    answer(capsys, *train, "--seed", "1", "--overwrite")
    assert contents(tmp_path).keys() == before.keys()
    assert contents(tmp_path) != before
    with pytest.raises(SystemExit):
        main([*map(str, train), "--overwrite", "--resume"])


def test_a_warning_is_one_line(folder, capsys, tmp_path):
    train = ["train", f"{folder}/prepared", "--out", f"{tmp_path}/model", *TRAIN]
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        assert main([*train, "--batch-size", "500"]) == 0
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if "`batch_size`" in line)
    assert line.startswith("keras-multvae train: warning: Batches of 500 users are")


def test_an_early_interruption_leaves_nothing(folder, capsys, tmp_path, monkeypatch):
    from keras_multvae.cli.output import TrainingProgress

    def kill(self, batch, logs=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingProgress, "on_train_batch_end", kill)
    out = tmp_path / "deep" / "model"
    train = ["train", f"{folder}/prepared", "--out", f"{out}", *TRAIN]
    assert main(train) == 1
    assert "Nothing was saved yet, and nothing is left." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_counts_do_not_go_with_the_logistic_likelihood(capsys, tmp_path):
    plays = tmp_path / "plays.csv"
    rows = [f"{user},{item},{1 + user % 3}" for user in range(40) for item in range(6)]
    plays.write_text("\n".join(["user_id,item_id,plays", *rows]))
    prepared = tmp_path / "prepared"
    answer(capsys, "prepare", plays, "--out", prepared, "--value-column", "plays")
    before = contents(tmp_path)
    text = failure(
        capsys, "train", prepared, "--out", tmp_path / "new" / "model", *TRAIN,
        "--likelihood", "logistic",
    )  # fmt: skip
    assert "LogisticNLL takes 0 and 1 alone" in text
    assert contents(tmp_path) == before and not (tmp_path / "new").exists()


def test_what_would_stop_the_writing_stops_before_training(
    folder, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "keras_multvae.cli.training.train_recipe",
        lambda *a, **k: pytest.fail("trained"),
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    train = ["train", folder / "prepared", "--out"]
    assert "will not be replaced" in failure(capsys, *train, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    assert not (tmp_path / "m").exists()


def test_training_needs_no_matplotlib(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    train = ["train", f"{folder}/prepared", "--out", f"{tmp_path}/m", *TRAIN]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(train) == 0
    shown = capsys.readouterr()
    assert (
        "training.png will be missing. Plots need matplotlib. Install it with: pip"
        in shown.err
    )
    assert shown.out.endswith(f"Written to {tmp_path}/m, with history.csv\n")
    assert not (tmp_path / "m" / "training.png").exists()
    assert (
        Recommender.load(tmp_path / "m").items
        == Recommender.load(folder / "model").items
    )


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("--coordinator a:1", "go with --distribute"),
        ("--distribute data --item-parts 2", "goes with --distribute items"),
        ("--distribute data --processes 2", "need all of --coordinator"),
        ("--distribute items --coordinator a:1 --processes 2 --process 2", "from 0"),
    ],
)
def test_how_processes_are_named(folder, capsys, tmp_path, more, text):
    if "from 0" in text and keras.backend.backend() != "jax":
        text = "KERAS_BACKEND=jax"
    train = ["train", folder / "prepared", "--out", tmp_path / "m"]
    assert text in failure(capsys, *train, *more.split())


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="there it does what is asked for"
)
def test_other_backends_than_jax_are_told(folder, capsys, tmp_path):
    train = ["train", folder / "prepared", "--out", tmp_path / "m"]
    assert "KERAS_BACKEND=jax" in failure(capsys, *train, "--distribute", "data")


@pytest.mark.once
def test_help_tells_defaults(capsys):
    with pytest.raises(SystemExit) as error:
        main(["train", "--help"])
    assert error.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--beta-cap BETA_CAP where the KL weight stops rising (default: 0.2)" in text
    assert (
        "--dropout DROPOUT share of clicks dropped from the input (default: 0.5)"
        in text
    )


def test_export_to_onnx(folder, capsys):
    pytest.importorskip("onnx")
    out = str(folder / "onnx_models")
    export = ["export", str(folder / "model"), "--out", out, "--format", "onnx"]
    assert main([*export, "-k", "5", "--data-name", "made up"]) == 0
    version = folder / "onnx_models" / "1"
    assert capsys.readouterr().out == f"{version}\n"
    assert "Data: made up." in (version / "assets.extra/MODEL_CARD.md").read_text()
    assert main(["verify", out]) == 0
    assert "exported model, all files whole" in capsys.readouterr().out
    assert not (folder / "onnx_models" / "serving").exists()
    with pytest.raises(SystemExit):
        main([*export, "--quantize", "int8"])
    assert "--quantize goes with a SavedModel" in capsys.readouterr().err


def test_export_as_a_program(folder):
    pytest.importorskip("tensorflow")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = str(Path(keras_multvae.__file__).parents[1])
    arguments = ["export", "model", "--out", "saved", "--prepared", "prepared"]
    arguments += ["--licence", "movielens", "--quantize", "int8", "--keep", "1"]
    run = subprocess.run(
        [sys.executable, "-m", "keras_multvae", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == os.path.join("saved", "1")
    version = folder / "saved" / "1"
    assert (version / "saved_model.pb").is_file()
    card = (version / "assets.extra" / "MODEL_CARD.md").read_text()
    assert "| ndcg@100 | 0." in card
    assert "GroupLens" in card
    assert "int8" in card
    assert (folder / "saved" / "serving" / "docker-compose.yml").is_file()
