"""Standard error holds our own lines alone, whatever the frameworks have to say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

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
    "tune p --out t --minutes 0.05 --trials 1 --models MultDAE",
    "evaluate m p",
    "recommend m histories.jsonl -k 3",
    "recommend m p --out r.parquet -k 3",
    "export m --out s/shop --prepared p",
]
OURS = re.compile(
    r"## |Read clicks\.csv: |epoch \d+ of \d+: loss |trial \d+, |recommending\b"
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


FAKE = """
import os, warnings
warnings.warn("mind this")
os.write(2, b"I0000 00:00:1.5    7 a.cc:1] log of absl\\n")
os.write(2, b"2024-01-02 03:04:05.6: W tensorflow/a.cc:2] log of before\\n")
os.write(2, b"of somebody else\\n")
"""


@pytest.mark.once
def test_what_is_no_log_comes_through_and_so_do_logs_that_are_asked_for(tmp_path):
    (tmp_path / "tensorflow.py").write_text(FAKE)
    code = (
        "import sys\n"
        "sys.argv[0] = 'keras-multvae'\n"
        "from keras_multvae import start\n"
        "start.quiet(); start.quiet()\n"
        "import tensorflow\n"
    )

    def heard(**more):
        paths = os.pathsep.join([str(tmp_path), ROOT])
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment(**more), "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=True,
        )
        return found.stderr

    quiet = heard()
    assert "UserWarning: mind this" in quiet and "of somebody else" in quiet
    assert "log of" not in quiet
    all_of_it = heard(KERAS_MULTVAE_DEBUG="1")
    assert "log of absl" in all_of_it and "log of before" in all_of_it
    # What cannot be imported says so as ever.
    (tmp_path / "tensorflow.py").write_text(FAKE + "raise ImportError('broken')")
    with pytest.raises(subprocess.CalledProcessError) as error:
        heard()
    assert "ImportError: broken" in error.value.stderr
    assert "of somebody else" in error.value.stderr
