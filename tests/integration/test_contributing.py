"""What greets a contributor: what it names is there, and workflows are valid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[2]


def test_the_files_that_are_named_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:keras_multvae|tests)/[\w/.]+)`", text)
    assert len(named) > 10
    missing = [path for path in named if not (ROOT / path).exists()]
    assert [path for path in missing if "NAME" not in path] == []


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        (".github/workflows/test.yml", "vendor.github-workflows"),
        (".github/workflows/docs.yml", "vendor.github-workflows"),
        (".readthedocs.yaml", "vendor.readthedocs"),
    ],
)
def test_the_workflow_is_valid(file, schema):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    command += [schema, file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_matrix_has_the_oldest_and_the_newest():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    matrix = workflow["jobs"]["backend"]["strategy"]["matrix"]
    rows = [
        (backend, python, keras)
        for backend in matrix["backend"]
        for python in matrix["python"]
        for keras in matrix["keras"]
        if {"python": python, "keras": keras} not in matrix["exclude"]
    ]
    assert len(rows) == 6
    project = (ROOT / "pyproject.toml").read_text()
    oldest = re.search(r'requires-python = ">=([\d.]+)"', project)[1]
    lowest = re.search(r'"keras>=([\d.]+)"', project)[1]
    assert ("jax", oldest, f"keras=={lowest}.*") in rows
