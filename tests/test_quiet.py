"""Standard error holds our own lines alone, whatever the frameworks have to say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_multvae

ROOT = str(Path(keras_multvae.__file__).parents[1])
RNG = np.random.default_rng(0)
# One process, as most of each would be its imports; it does what the script does.
PROGRAM = """
import json, sys
sys.argv[0] = "keras-multvae"
from keras_multvae.cli import main
for arguments in json.loads(sys.argv[1]):
    print("##", *arguments, file=sys.stderr, flush=True)
    assert main(arguments) == 0
"""
COMMANDS = [
    "prepare clicks.csv --out p --validation-users 20 --test-users 20",
    "train p --out m --epochs 2 --latent-dim 3 --hidden-dims 8",
    "tune p --out t --minutes 0.1 --trials 1 --models MultVAE",
    "evaluate m p",
    "recommend m histories.jsonl -k 3",
    "recommend m p --out r.parquet -k 3",
    "export m --out s/shop --prepared p",
]
OURS = re.compile(
    r"## |Read clicks\.csv: |epoch \d+ of \d+: loss |trial \d+, |recommending "
)


def environment(**more):
    """As that of a user who knows nothing of the frameworks' variables."""
    kept = {n: v for n, v in os.environ.items() if n != "TF_CPP_MIN_LOG_LEVEL"}
    return {**kept, "PYTHONPATH": ROOT, **more}


def test_no_command_lets_a_framework_speak(tmp_path):
    pytest.importorskip("tensorflow")
    pytest.importorskip("optuna")
    users, items = np.nonzero(RNG.random((90, 12)) < 0.5)
    rows = [f"{user},{item}" for user, item in zip(users, items, strict=True)]
    (tmp_path / "clicks.csv").write_text("\n".join(["user_id,item_id", *rows]))
    (tmp_path / "histories.jsonl").write_text("[1, 3]\n")
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([c.split() for c in COMMANDS])],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    others = [line for line in found.stderr.splitlines() if not OURS.match(line)]
    assert others == []
    assert found.returncode == 0
    assert found.stderr.count("## ") == len(COMMANDS)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="one is enough")
def test_what_is_no_log_comes_through_and_so_do_logs_that_are_asked_for():
    pytest.importorskip("tensorflow")
    # Written to the descriptor while TensorFlow is imported, as its C++ code does.
    code = (
        "import os, sys, warnings\n"
        "sys.argv[0] = 'keras-multvae'\n"
        "from keras_multvae import start\n"
        "start.quiet(); start.quiet()\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tensorflow.python':\n"
        "            warnings.warn('mind this')\n"
        "            os.write(2, b'I0000 00:00:1 a.cc:1] log\\nof somebody else\\n')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import tensorflow\n"
    )
    arguments = [sys.executable, "-c", code]
    options = {"capture_output": True, "text": True, "check": True}
    found = subprocess.run(arguments, env=environment(), **options)
    assert "UserWarning: mind this" in found.stderr
    assert "of somebody else" in found.stderr
    assert "a.cc:1" not in found.stderr and "oneDNN" not in found.stderr
    heard = environment(KERAS_MULTVAE_DEBUG="1")
    assert "a.cc:1" in subprocess.run(arguments, env=heard, **options).stderr
