"""Every command of README and docs/ is run as it stands, or parsed where it cannot be.

A new command needs nothing here: it is run. One that must not be has a line in
NOT_RUN, with the reason, and goes through the parser that it calls.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from documents.pages import COMMANDS, PAGES, ROOT, Command, commands, python_blocks
from documents.scene import Scene, write_films

from keras_multvae.cli.parser import parse

pytest.importorskip("tensorflow")

pytestmark = pytest.mark.once

NETWORK, MINUTES, HOSTS = "the network", "more than a minute", "other hosts"
CONTAINERS, DATA = "containers", "data that are not here"
PORTS = "another server beside the one of the scene"
PART = "a part of a command, as an example"
NOT_RUN = {
    r"^make ": MINUTES,
    r"hf://": NETWORK,
    r"pip install|-m venv|-m build": NETWORK,
    r"bin/activate$": "the shell that it changes",
    r"-m pytest": MINUTES,
    r"keras-multvae demo": MINUTES,
    r"tune .*--minutes 60": MINUTES,
    r"-m benchmarks\.quality\.|reproduce_paper\.py|\bml10m\b": DATA,
    r"-m benchmarks": MINUTES,
    r"every_operation\.py": "test_faults.py runs it",
    r"--engine ray|^ray start|--coordinator host0|^export KERAS_BACKEND=jax$": HOSTS,
    r"^torchrun ": HOSTS,
    r"^docker |^cd saved_models/movielens/serving$": CONTAINERS,
    r"serve .*--(grpc-port|labels)": PORTS,
    r" \.\.\. |\bCOMMAND\b|\b(FOLDER|PREPARED)$|--out (FILE|MODEL)$": PART,
}


class ParsedError(Exception):
    """Arguments were parsed, and nothing was run."""


def reason(command: Command) -> str | None:
    """Why a command is not run."""
    return next((why for p, why in NOT_RUN.items() if re.search(p, command.text)), None)


def words_of(command: Command) -> list[str]:
    """Its words, without settings of variables and without comments."""
    words = shlex.split(command.text, comments=True)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return [words[0].removeprefix(".venv/bin/"), *words[1:]]


def is_part(command: Command) -> bool:
    """Whether it stands in a line of words and lacks what a whole one has."""
    words = [word for word in words_of(command) if word != "keras-multvae"]
    if not command.inline or words[0] not in COMMANDS.split("|"):
        return False
    if "--import" in words:  # of a module that only the scene has
        return False
    try:
        parse(words)
    except SystemExit:
        return True
    return words_of(command)[0] != "keras-multvae" and len(words) < 3


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """What the README's commands make: prepared folder, model, SavedModel."""
    folder = tmp_path_factory.mktemp("pages")
    scene = Scene(folder)
    write_films(folder)
    (model,) = (
        block
        for block in python_blocks(ROOT / "docs" / "extending.md")
        if "@km.register_model" in block
    )
    (folder / "my_models.py").write_text(model)
    with pytest.MonkeyPatch.context() as patch:
        for command in commands(PAGES[0]):
            first = re.match(r"keras-multvae (prepare|train|export) ", command.text)
            if first and not command.inline:
                scene.done[command.text] = scene.run(command.text, patch)
    yield scene
    scene.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_page_do_what_they_say(page, scene, monkeypatch, capsys):
    if page.name == "tutorial-shop.md":
        pytest.skip("test_tutorial.py runs it from end to end")
    for command in commands(page):
        if reason(command) is not None or is_part(command):
            continue
        text = command.text
        if text.split()[0] in COMMANDS.split("|"):
            text = f"keras-multvae {text}"
        answer = scene.run(text, monkeypatch)
        assert answer.strip(), command
        if words_of(command)[0] == "curl":
            (found,) = {"predictions", "outputs"} & set(json.loads(answer))
            assert json.loads(answer)[found], command
    if page == ROOT / "docs" / "extending.md":
        recipe = json.loads((scene.folder / "my-model" / "recipe.json").read_text())
        expected = ("LinearVAE", {"latent_dim": 32})
        assert (recipe["model"], recipe["settings"]) == expected


def test_the_server_says_its_own_lines_alone(scene, monkeypatch):
    scene.run("keras-multvae serve saved_models/movielens", monkeypatch)
    lines = scene.served().splitlines()
    assert lines
    ours = r"movielens: http://|\d{4}-\d\d-\d\d [\d:,]+ INFO (version |\S+ is loaded)"
    assert [line for line in lines if not re.match(ours, line)] == []


ALL = [command for page in PAGES for command in commands(page)]
PARSED = [each for each in ALL if reason(each) is not None or is_part(each)]


@pytest.mark.parametrize("command", PARSED, ids=str)
def test_what_is_not_run_is_parsed(command, monkeypatch, capsys):
    words = words_of(command)
    if is_part(command) or " ... " in command.text or reason(command) == PART:
        check_part([word for word in words if word != "keras-multvae"])
    elif words[0] == "keras-multvae":
        parse(words[1:])
    elif words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE)
    elif "install" in words:
        check_extras(words[words.index("install") + 1 :])
    elif words[1:2] == ["-m"] and words[2].startswith("benchmarks"):
        parse_module(words[2], words[3:], monkeypatch)
    elif words[0] == "python" and words[1].startswith("examples/"):
        with pytest.raises(ParsedError):
            only_parsing(monkeypatch, words[1:])
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    else:
        # Programs of others, whose parsers are theirs.
        others = ". python python3 uv docker ray torchrun export cd"
        assert words[0] in others.split()


def check_part(words):
    """Its command and its options are there, whatever else it would need."""
    name, *rest = words
    if name == "COMMAND":
        return
    with pytest.raises(SystemExit):
        parse([name, "--help"])
    known = options_of(name)
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{name} has no {word}"


def options_of(name):
    """All options of a command, whatever the model."""
    page = page_of_commands().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    return {"--help", *re.findall(r"--[a-z0-9-]+", page)}


@cache
def page_of_commands():
    """docs/cli.md as it should be, from a process that knows our models alone."""
    code = "import write_cli; print(write_cli.page(), end='')"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "docs")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_page_of_the_commands_is_what_the_parser_takes():
    renew = "docs/cli.md is stale: `make cli-docs`, or `python docs/write_cli.py`."
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == page_of_commands(), renew


def only_parsing(monkeypatch, argv):
    """Has programs end as soon as they have parsed their arguments."""
    real = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        real(self, args, namespace)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", argv)


def parse_module(name, arguments, monkeypatch):
    arguments = ["imports" if each == "MEASURE" else each for each in arguments]
    whole = f"{name}.__main__" if name == "benchmarks" else name
    # Other tests import some of them, of which runpy would warn.
    monkeypatch.delitem(sys.modules, whole, raising=False)
    source = Path(importlib.util.find_spec(whole).origin).read_text()
    if name != "benchmarks" and "parse_args" not in source:
        assert not arguments, f"{name} takes none"
        return
    only_parsing(monkeypatch, [name, *arguments])
    with pytest.raises(ParsedError):
        runpy.run_module(name, run_name="__main__")


def check_extras(words):
    """The extras that a pip command names are those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        found = re.fullmatch(r"(\.|keras_multvae)\[(.*)\]", word)
        if found:
            assert set(found[2].split(",")) <= set(project["optional-dependencies"])


def test_every_reason_is_needed():
    for pattern in NOT_RUN:
        assert any(re.search(pattern, each.text) for each in ALL), pattern
