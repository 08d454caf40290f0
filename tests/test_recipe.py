"""Recipes as JSON, and the record that a model's folder keeps."""

from __future__ import annotations

import json

import pytest

from keras_multvae import MultDAE, MultVAE, Recipe, SampledSoftmax
from keras_multvae.files import DamagedFileError
from keras_multvae.training import TrainingRecord
from keras_multvae.training.record import read_recipe, versions

pytestmark = pytest.mark.once
RECIPES = [
    Recipe(),
    Recipe("MultDAE", epochs=3),
    Recipe(
        MultVAE.Config(8, (5, 4), tied=True, head=SampledSoftmax(7, "in_batch")),
        learning_rate=0.01,
        anneal_steps=20,
        partitions=2,
        seed=-3,
    ),
    Recipe(MultDAE.Config(likelihood="gaussian", l2=0.5), batch_size=7, beta_cap=0),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_json_there_and_back(recipe, tmp_path):
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    record = TrainingRecord(recipe, "0" * 64, versions("jax"))
    record.write(tmp_path)
    assert TrainingRecord.read(tmp_path) == record
    assert read_recipe(tmp_path) == recipe


def test_a_file_by_hand_may_leave_things_out(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"settings": {"dropout": 0.25}, "training": {"epochs": 7}}')
    assert read_recipe(file) == Recipe(MultVAE.Config(dropout=0.25), epochs=7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"settings": {"droput": 0.2}}', "has no setting 'droput'; it has latent_dim"),
        ('{"training": {"epoch": 2}}', "has no setting 'epoch'; it has epochs"),
        ('{"training": {"epochs": 0}}', "`epochs` must be an integer >= 1"),
        ('{"training": {"seed": 1.5}}', "`seed` must be an integer"),
        ('{"model": "VASP"}', "'VASP' is not known"),
        ('{"model": "EASE"}', "EASE is not trained by a Recipe"),
        ('{"epochs": 2}', "has model, settings and training, and no ['epochs']"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, words):
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(ValueError) as error:
        read_recipe(file)
    assert words in str(error.value) and str(file) in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of a model, or a JSON file"):
        read_recipe(tmp_path)
    file = tmp_path / "mine.json"
    file.write_text("[]")
    with pytest.raises(DamagedFileError, match="one JSON object"):
        read_recipe(file)
    file.write_text('{"format": "keras_multvae.recipe", "version": 99}')
    with pytest.raises(DamagedFileError):
        read_recipe(file)


def test_versions_name_the_backend():
    found = versions("torch")
    assert found["backend"] == "torch"
    assert {"python", "keras", "numpy", "scipy", "torch"} <= set(found)
