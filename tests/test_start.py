"""Starting: which backend, and that the command line answers without Keras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_multvae

pytestmark = pytest.mark.once
ROOT = str(Path(keras_multvae.__file__).parents[1])
# Runs the command line as the installed script does, and says what it imported.
PROGRAM = """
import sys
sys.argv = ["keras-multvae", *sys.argv[1:]]
try:
    from keras_multvae.cli import main
    main()
finally:
    print([name for name in ("keras", "tensorflow", "numpy") if name in sys.modules])
"""
# Packages that are not to be found.
WITHOUT = """
import importlib.util, sys
hidden, find_spec = sys.argv[1].split(","), importlib.util.find_spec
for name in hidden:
    sys.modules[name] = None
import keras_multvae, keras
print(keras.backend.backend())
"""


def run(code, *arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": ROOT, **environment}
    environment = {name: each for name, each in environment.items() if each is not None}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "from raw ratings to served recommendations"),
        (["--version"], keras_multvae.__version__),
        (["train", "--help"], "--latent-dim"),
        (["train", "--model", "MultDAE", "--help"], "--l2"),
        (["train", "p", "--out", "m", "--epochs", "0"], "an integer >= 1, not '0'"),
        (["train", "p", "--out", "m", "--model", "VASP"], "'VASP' is not known"),
        (["train", "p", "--out", "m", "--num-sampled", "x"], "--num-sampled"),
        (["nonsense"], "invalid choice"),
    ],
)
def test_help_and_bad_use_import_no_keras(arguments, words):
    found = run(PROGRAM, *arguments)
    assert words in found.stdout + found.stderr
    assert found.stdout.splitlines()[-1] == "[]"
    assert "Traceback" not in found.stderr


def test_as_a_module_too():
    command = [sys.executable, "-X", "importtime", "-m", "keras_multvae", "--version"]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    found = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == keras_multvae.__version__
    assert "| keras\n" not in found.stderr


def test_importing_the_package_registers_everything():
    code = (
        "import keras_multvae, keras\n"
        "for name in ('MultVAE', 'MultDAE', 'MultinomialNLL', 'NDCGAtK', 'FusedAdam',"
        " 'Sampling', 'StandardNormal'):\n"
        "    assert keras.saving.get_registered_object('keras_multvae>' + name), name"
    )
    found = run(code)
    assert found.returncode == 0, found.stderr


def test_a_backend_that_is_named_and_missing_is_one_line():
    found = run(WITHOUT, "jax", KERAS_BACKEND="jax")
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: The environment variable KERAS_BACKEND names")
    assert "pip install jax" in last


def test_a_backend_of_keras_json_that_is_missing_is_one_line(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    found = run(WITHOUT, "jax", KERAS_BACKEND=None, KERAS_HOME=str(tmp_path))
    last = found.stderr.strip().splitlines()[-1]
    assert str(tmp_path / "keras.json") in last and "pip install jax" in last


def test_a_backend_that_is_not_ours_is_named():
    found = run("import keras_multvae", KERAS_BACKEND="openvino")
    assert "runs on tensorflow, jax, torch" in found.stderr.strip().splitlines()[-1]


def test_without_tensorflow_an_installed_backend_is_taken_and_said_once(tmp_path):
    found = run(
        WITHOUT, "tensorflow", KERAS_BACKEND=None, KERAS_HOME=str(tmp_path / "none")
    )
    taken = found.stdout.strip().splitlines()[-1]
    assert taken in ("jax", "torch")
    assert found.stderr.count(f"so Keras runs on {taken}") == 1


def test_without_any_backend_the_remedy_is_told(tmp_path):
    found = run(
        WITHOUT,
        "tensorflow,jax,torch",
        KERAS_BACKEND=None,
        KERAS_HOME=str(tmp_path / "none"),
    )
    last = found.stderr.strip().splitlines()[-1]
    assert "none is installed" in last and "tensorflow-cpu" in last
