"""The whole job with a model that lies outside the package: examples/add_a_model.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_multvae
from keras_multvae import Recipe, Recommender, compare, registry
from keras_multvae.abilities import HasItemVectors, can
from keras_multvae.cli import main
from keras_multvae.data import (
    Interactions,
    load_prepared,
    save_prepared,
    strong_generalization,
)

ROOT = Path(keras_multvae.__file__).parents[1]
EXAMPLES = ROOT / "examples"
OTHERS = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}
BACKEND = keras.backend.backend()
HISTORIES = [["i1", "i2"], [], ["i7", "i3", "i0"]]
SERVED = """
import json, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
rows = [row + [""] * (3 - len(row)) for row in json.loads(sys.argv[2])]
found = {name: {key: value.numpy().tolist() for key, value in
    model.signatures[name](item_ids=tf.constant(rows)).items()}
    for name in ("serving_default", "embed")}
found["serving_default"].pop("item_ids")
print(json.dumps({**found, "names": sorted(model.signatures)}))
"""


def run(*arguments, backend=BACKEND, check=True):
    """A fresh process with the examples at hand."""
    paths = os.pathsep.join([str(ROOT), str(EXAMPLES)])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=check,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A prepared folder, and GatedVAE trained on it by the command line."""
    folder = tmp_path_factory.mktemp("gated")
    users, items = np.nonzero(np.random.default_rng(0).random((80, 15)) < 0.4)
    clicks = Interactions.from_events(users, [f"i{item}" for item in items])
    save_prepared(strong_generalization(clicks, 10, 10), folder / "prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        arguments = ["--import", "add_a_model", "--model", "GatedVAE", "--width", "8"]
        arguments += ["--latent-dim", "4", "--epochs", "2", "--batch-size", "20"]
        prepared, out = str(folder / "prepared"), str(folder / "model")
        assert main(["train", prepared, "--out", out, *arguments]) == 0
        yield folder


def test_its_settings_are_options(trained, capsys):
    with pytest.raises(SystemExit) as error:
        main(["train", "--import", "add_a_model", "--model", "GatedVAE", "--help"])
    assert error.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--width WIDTH gated units of the first layer (default: 600)" in text
    assert "--hidden-dims" not in text


def test_its_folder_keeps_the_recipe_and_trains_the_same_again(trained, tmp_path):
    recommender = Recommender.load(trained / "model")
    recipe = recommender.training.recipe
    assert recipe.model_name == "GatedVAE"
    assert recipe.model.arguments() == {"latent_dim": 4, "width": 8}
    assert (recipe.epochs, recipe.batch_size, recipe.seed) == (2, 20, 0)
    assert recommender.training.versions["backend"] == BACKEND
    arguments = [str(trained / "prepared"), "--out", str(tmp_path / "again")]
    assert main(["train", *arguments, "--recipe", str(trained / "model")]) == 0
    again = Recommender.load(tmp_path / "again")
    assert again.training == recommender.training
    one, other = (each.recommend(HISTORIES) for each in (recommender, again))
    for scores, same in zip(one.scores, other.scores, strict=True):
        np.testing.assert_allclose(scores, same, atol=1e-6)


def test_a_process_that_did_not_import_it_says_what_to_do(trained):
    command = (
        "-m",
        "keras_multvae",
        "evaluate",
        trained / "model",
        trained / "prepared",
    )
    failed = run(*command, check=False)
    assert failed.returncode == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert "'GatedVAE' is not known" in last and "--import MODULE" in last
    found = run(*command, "--import", "add_a_model", "--json")
    assert "ndcg@100" in found.stdout


def test_it_scores_the_same_on_another_backend(trained):
    if find_spec(OTHERS[BACKEND]) is None:
        pytest.skip(f"{OTHERS[BACKEND]} is not installed")
    code = (
        "import json, sys; import add_a_model; from keras_multvae import Recommender;"
        "histories = json.loads(sys.argv[2]);"
        "found = Recommender.load(sys.argv[1]).recommend(histories, k=15);"
        "print(json.dumps([each.tolist() for each in found.scores]))"
    )
    text = json.dumps(HISTORIES)
    elsewhere = run("-c", code, trained / "model", text, backend=OTHERS[BACKEND])
    here = Recommender.load(trained / "model").recommend(HISTORIES, k=15)
    for one, other in zip(here.scores, json.loads(elsewhere.stdout), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_it_is_compared_with_the_others(trained):
    split = load_prepared(trained / "prepared").split
    config = registry.find("GatedVAE").config(latent_dim=4, width=8)
    recipe = Recipe(config, epochs=1, batch_size=35)
    found = compare(split, {"one": recipe, "other": recipe}, reference="one")
    assert list(found.reports) == ["one", "other"]


def test_its_saved_model_gives_equal_answers(trained, tmp_path, capsys):
    pytest.importorskip("tensorflow")
    out = tmp_path / "saved" / "gated"
    assert main(["export", str(trained / "model"), "--out", str(out), "-k", "15"]) == 0
    served = json.loads(
        run("-c", SERVED, out / "1", json.dumps(HISTORIES)).stdout.splitlines()[-1]
    )
    recommender = Recommender.load(trained / "model")
    assert can(recommender.model, HasItemVectors)
    assert {"recommend", "discover", "score", "embed", "similar_items"} <= set(
        served["names"]
    )
    here = recommender.recommend(HISTORIES, k=15)
    for row, scores in enumerate(here.scores):
        found = served["serving_default"]["scores"][row][: len(scores)]
        np.testing.assert_allclose(found, scores, atol=1e-5)
    mean, variance = recommender.embed(HISTORIES)
    np.testing.assert_allclose(served["embed"]["mean"], mean, atol=1e-5)
    np.testing.assert_allclose(
        np.exp(served["embed"]["log_variance"]), variance, rtol=1e-4
    )
    capsys.readouterr()
    arguments = [str(trained / "model"), "--out", str(out), "--quantize", "int8"]
    assert main(["export", *arguments]) == 1
    assert "has layers of its own" in capsys.readouterr().err


def test_the_example_runs_as_it_stands(tmp_path):
    pytest.importorskip("tensorflow")
    paths = {**os.environ, "KERAS_BACKEND": BACKEND, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, str(EXAMPLES / "add_a_model.py")],
        cwd=tmp_path,
        env=paths,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "| Gated VAE |" in found.stdout
    assert (tmp_path / "saved_models" / "gated" / "1" / "saved_model.pb").is_file()


def test_the_example_is_short():
    assert len((EXAMPLES / "add_a_model.py").read_text().splitlines()) <= 80
