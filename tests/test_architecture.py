"""Imports run one way, as docs/architecture.md says."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import keras_multvae

pytestmark = pytest.mark.once

ROOT = Path(keras_multvae.__file__).parent
# From the bottom up: a package or module imports only what stands before it.
LAYERS = [
    "typing",
    "heap",
    "bfloat16",
    "start",
    "compat",
    "checks",
    "memory",
    "extras",
    "tables",
    "files",
    "settings",
    "registry",
    "abilities",
    "progress",
    "features",
    "backend",
    "ragged",
    "data",
    "schedules",
    "losses",
    "metrics",
    "optimizers",
    "layers",
    "models",
    "distribution",
    "callbacks",
    "ranking",
    "reranking",
    "evaluation",
    "baselines",
    "training",
    "cold_start",
    "selection",
    "plots",
    "card",
    "recommender",
    "cluster",
    "tuning",
    "serving",
    "server",
    "cli",
]
MODULES = sorted(
    path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in LAYERS
)

MAX_LINES, MAX_LINES_OF_A_FUNCTION, MAX_MODULES_OF_DATA = 350, 60, 10


def layer(path):
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
        if parts[1] not in LAYERS:
            # A public name of the package, which only the topmost layer goes through.
            assert layer(path) == "cli", f"{path} imports {name}"
            continue
        assert LAYERS.index(parts[1]) <= LAYERS.index(layer(path)), f"{path}: {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_frameworks_are_named_in_few_places(path):
    allowed = {"backend", "compat", "serving", "server"}
    for name in imported(path):
        if name.split(".")[0] in ("tensorflow", "jax", "torch"):
            assert layer(path) in allowed, f"{path} imports {name}"
        if name.split(".")[0] == "keras" and layer(path) == "data":
            assert path.stem == "batches", f"{path} imports {name}"
        if name.split(".")[0] == "ray":
            assert layer(path) == "cluster", f"{path} imports {name}"
        assert layer(path) == "compat" or "keras.src" not in name


def test_the_page_names_every_package_and_module():
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    for name in LAYERS:
        assert f"`{name}.py`" in page or f"`{name}/`" in page, name


def module_of(path):
    """keras_multvae/data/batches.py -> keras_multvae.data.batches."""
    parts = [ROOT.name, *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_at_once(tree):
    """Names that are imported when the module is, so not those inside functions."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for each in ast.walk(node):
            if isinstance(each, ast.Import):
                yield from (alias.name for alias in each.names)
            elif isinstance(each, ast.ImportFrom):
                yield from (f"{each.module}.{alias.name}" for alias in each.names)


def test_no_modules_import_each_other():
    paths = {module_of(path): path for path in ROOT.rglob("*.py")}
    graph = {}
    for module, path in paths.items():
        names = imported_at_once(ast.parse(path.read_text()))
        # A name is that of a module, or of something in one.
        found = {n if n in paths else n.rpartition(".")[0] for n in names}
        graph[module] = found & set(paths)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"A circle of imports: {' <- '.join(error.args[1])}")


def test_data_has_few_modules():
    found = [
        path.name
        for path in (ROOT / "data").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists())
        and path.name != "__init__.py"
    ]
    assert len(found) <= MAX_MODULES_OF_DATA, (
        f"group some of {sorted(found)} in a package"
    )


def own_lines(function):
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def test_functions_are_short():
    long = {
        (path.relative_to(ROOT).as_posix(), node.name): own_lines(node)
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and own_lines(node) > MAX_LINES_OF_A_FUNCTION
    }
    assert not long, (
        f"over {MAX_LINES_OF_A_FUNCTION} lines without the docstring: {long}"
    )


def test_modules_are_short():
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in ROOT.rglob("*.py")
        for lines in [len(path.read_text().splitlines())]
        if lines > MAX_LINES
    }
    assert not long, f"over {MAX_LINES} lines: {long}"


def test_any_is_rare():
    """An alias of `typing.py` says what `Any` does not."""

    def count(annotation):
        nodes = ast.walk(annotation) if annotation is not None else ()
        return sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes)

    found = 0
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arg | ast.AnnAssign):
                found += count(node.annotation)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found += count(node.returns)
    assert found <= 160
