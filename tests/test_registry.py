"""Models by name, from inside and outside the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import sparse

import keras_multvae
from keras_multvae import (
    EASE,
    MultVAE,
    Popularity,
    Recommender,
    Settings,
    export_saved_model,
    register_model,
    registry,
    setting,
)
from keras_multvae.data import Vocabulary
from keras_multvae.files import DamagedFileError
from keras_multvae.settings import POSITIVE_INT

ROOT = Path(keras_multvae.__file__).parents[1]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No other models than ours, and what a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_imported", [])


class Unknown(MultVAE):
    """A subclass that nobody registered."""


def test_our_models_have_names():
    assert set(registry.BUILT_IN) <= set(registry.names())
    for name in registry.BUILT_IN:
        entry = registry.find(name)
        assert entry.model.__name__ == name
        assert registry.entry_of(entry.model) == entry
        assert (entry.config is not None) == issubclass(entry.model, keras.Model)


def rename_model(folder, name):
    """As a folder without checksums has it, of whatever hand."""
    file = folder / "metadata.json"
    metadata = json.loads(file.read_text())
    for key in ("files", "sha256"):
        del metadata[key]
    file.write_text(json.dumps({**metadata, "model": name}))


def test_an_unknown_model_is_one_line_with_both_ways(tmp_path):
    with pytest.raises(registry.UnknownModelError) as error:
        registry.find("VASP")
    text = str(error.value)
    assert "\n" not in text
    assert "'VASP'" in text and "--import MODULE" in text and "announces" in text
    model = Popularity(3).fit(sparse.csr_matrix(np.eye(3)))
    Recommender(model, Vocabulary(list("abc"))).save(tmp_path / "m")
    rename_model(tmp_path / "m", "os")
    with pytest.raises(DamagedFileError, match="'os' is not known"):
        Recommender.load(tmp_path / "m")


def test_a_subclass_that_is_not_registered_is_told_before_anything_is_written(tmp_path):
    recommender = Recommender(Unknown(3, 2, ()), Vocabulary(list("abc")))
    with pytest.raises(TypeError, match=r"Put @keras_multvae\.register_model over"):
        recommender.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_registered_subclass_saves_and_loads(tmp_path):
    @register_model
    class Renamed(MultVAE):
        pass

    model = Renamed(3, 2, (), seed=1)
    Recommender(model, Vocabulary(list("abc"))).save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model").model
    assert type(loaded) is Renamed
    histories = sparse.csr_matrix(np.eye(3, dtype="float32"))
    np.testing.assert_allclose(loaded.score(histories), model.score(histories))


def test_a_registered_baseline_saves_and_loads(tmp_path):
    @register_model
    class Reversed(Popularity):
        def score(self, histories, batch_size=500):
            return -super().score(histories)

    clicks = sparse.csr_matrix([[1, 1, 0], [1, 0, 0]])
    Recommender(Reversed(3).fit(clicks), Vocabulary(list("abc"))).save(
        tmp_path / "model"
    )
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.recommend([[]], k=1).items[0].tolist() == ["c"]


def test_names_are_taken_once():
    def make(name):
        return type(name, (Popularity,), {"__module__": "elsewhere"})

    register_model(make("Mine"))
    register_model(make("Mine"))  # the same class again, as in a notebook's cell
    other = make("Mine")
    other.__module__ = "another"
    with pytest.raises(ValueError, match="registered already, by elsewhere"):
        register_model(other)
    with pytest.raises(ValueError, match="registered already, by keras_multvae"):
        register_model(make("EASE"))


def test_a_config_belongs_to_a_registered_model():
    @dataclass(frozen=True)
    class Config(Settings):
        size: int = setting(3, POSITIVE_INT, "of it")

    with pytest.raises(TypeError, match="not the Config of a registered model"):
        keras_multvae.Recipe(Config())


def test_an_installed_package_announces_a_model(monkeypatch, tmp_path):
    (tmp_path / "their_package.py").write_text(
        "from keras_multvae import Popularity, register_model\n"
        "@register_model\n"
        "class Theirs(Popularity): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("Theirs", "their_package", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert "Theirs" in registry.names()
    assert "their_package" not in sys.modules
    assert registry.find("Theirs").model.__module__ == "their_package"
    assert "their_package" in registry.handover(registry.find("Theirs").model)
    del sys.modules["their_package"]


def test_a_module_that_is_not_there():
    with pytest.raises(ImportError, match="no module 'not_there' to import"):
        registry.import_modules(["not_there"])


def test_another_process_takes_over_what_this_one_knows(tmp_path, monkeypatch):
    (tmp_path / "models_of_mine.py").write_text(
        "from keras_multvae import Popularity, register_model\n"
        "@register_model\n"
        "class Mine(Popularity): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.import_modules(["models_of_mine"])
    code = (
        "import sys; from keras_multvae import registry;"
        "registry.take_over(sys.argv[1]); print(registry.find('Mine').model)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, registry.handover(registry.find("Mine").model)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "models_of_mine.Mine" in run.stdout
    del sys.modules["models_of_mine"]


def test_a_model_of_a_notebook_cannot_be_handed_on(monkeypatch):
    cls = type("Typed", (Popularity,), {"__module__": "__main__"})
    register_model(cls)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    with pytest.raises(ValueError, match="module of its own"):
        registry.handover(cls)
    with pytest.raises(ValueError, match="module of its own"):
        registry.handover(cls, program=False)


def test_what_gives_no_logits_is_not_exported(tmp_path):
    pytest.importorskip("tensorflow")
    model = EASE(3, 1.0).fit(sparse.csr_matrix(np.eye(3)))
    recommender = Recommender(model, Vocabulary(list("abc")))
    with pytest.raises(TypeError, match=r"needs a Keras model that gives logits.*EASE"):
        export_saved_model(recommender, tmp_path / "saved")


def test_a_folder_never_says_what_to_import(tmp_path):
    """Only the name of a model is read; nothing else of the folder is imported."""
    model = Popularity(3).fit(sparse.csr_matrix(np.eye(3)))
    Recommender(model, Vocabulary(list("abc"))).save(tmp_path / "m")
    rename_model(tmp_path / "m", "antigravity:Popularity")
    with pytest.raises(DamagedFileError, match="is not known"):
        Recommender.load(tmp_path / "m")
    assert "antigravity" not in sys.modules
