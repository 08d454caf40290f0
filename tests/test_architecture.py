"""Imports run one way, as docs/architecture.md says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import keras_multvae

pytestmark = pytest.mark.once

ROOT = Path(keras_multvae.__file__).parent
# From the ground up: a room may import only what stands before it.
ROOMS = [
    "start",
    "compat",
    "checks",
    "extras",
    "files",
    "settings",
    "registry",
    "abilities",
    "progress",
    "backend",
    "bags",
    "data",
    "schedules",
    "losses",
    "metrics",
    "optimizers",
    "layers",
    "models",
    "baselines",
    "distribution",
    "callbacks",
    "ranking",
    "evaluation",
    "training",
    "selection",
    "plots",
    "recommender",
    "cluster",
    "serving",
    "server",
    "cli",
]
MODULES = sorted(
    path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in ROOMS
)


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """Dotted names of all imports, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path):
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "keras_multvae":
            continue
        assert len(parts) > 1, f"{path} imports the whole package"
        if parts[1] not in ROOMS:
            # A public name of the package, which only the topmost room goes through.
            assert room(path) == "cli", f"{path} imports {name}"
            continue
        assert ROOMS.index(parts[1]) <= ROOMS.index(room(path)), f"{path}: {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_frameworks_are_named_in_few_places(path):
    allowed = {"backend", "compat", "serving", "server"}
    for name in imported(path):
        if name.split(".")[0] in ("tensorflow", "jax", "torch"):
            assert room(path) in allowed, f"{path} imports {name}"
        if name.split(".")[0] == "keras" and room(path) == "data":
            assert path.stem == "batches", f"{path} imports {name}"
        if name.split(".")[0] == "ray":
            assert room(path) == "cluster", f"{path} imports {name}"
        assert "keras.src" not in name


def test_the_page_names_every_room():
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    for name in ROOMS:
        assert f"`{name}.py`" in page or f"`{name}/`" in page, name
