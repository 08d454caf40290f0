"""Writes docs/cli.md from what the command line takes: `make cli-docs`.

It plays the parser, and notes what it is given.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

# As the command line does: its options need no Keras.
sys.argv[0] = "keras-multvae"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from keras_multvae import registry  # noqa: E402
from keras_multvae.cli.examples import EXAMPLES  # noqa: E402
from keras_multvae.cli.parser import add_commands  # noqa: E402
from keras_multvae.training.recipe import Recipe  # noqa: E402

PAGE = Path(__file__).with_name("cli.md")
TOP = """\
# The commands

All commands with all options, as `keras-multvae COMMAND --help` shows them. The
examples build on each other: they work on MovieLens' `ratings.csv` and `movies.csv`,
and on what the examples before them wrote.

- **Backend:** the environment variable `KERAS_BACKEND` chooses tensorflow, jax or
  torch.
- **Output:** results go to standard output, with `--json` as JSON. Progress and
  messages go to standard error.
- **Exit status:** 0; 2 for bad use; 1 for a failure. A command that fails leaves
  nothing behind.
- **Debugging:** with `KERAS_MULTVAE_DEBUG=1` an error shows where it came from, and the
  frameworks' own logs are shown.

`make cli-docs` makes this page from the parser.
"""


class Noted:
    """A parser, or a group of one, that notes options in place of parsing."""

    def __init__(self, title: str = "", description: str = "") -> None:
        self.title, self.description = title, description
        self.options: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        self.groups: list[Noted] = []
        self.commands: dict[str, Noted] = {}

    def add_argument(self, *names: str, **options: Any) -> None:
        self.options.append((names, options))

    def add_argument_group(self, title: str = "", description: str = "") -> Noted:
        self.groups.append(Noted(title, description))
        return self.groups[-1]

    def add_mutually_exclusive_group(self, **_: Any) -> Noted:
        return self

    def add_subparsers(self, **_: Any) -> Noted:
        return self

    def add_parser(self, name: str, description: str = "", **_: Any) -> Noted:
        self.commands[name] = Noted(name, description)
        return self.commands[name]

    def set_defaults(self, **_: Any) -> None:
        """Nothing that a reader has to know."""


def page() -> str:
    """The page as it should be."""
    parser = Noted()
    add_commands(parser, Recipe())  # type: ignore[arg-type]
    without = [name for name in parser.commands if name not in EXAMPLES]
    if without:
        raise SystemExit(
            f"{', '.join(without)} has no example: write one in "
            "keras_multvae/cli/examples.py, from which --help has it too."
        )
    parts = [TOP]
    for name, command in parser.commands.items():
        parts += [f"## {name}", command.description]
        parts += [f"```sh\n{EXAMPLES[name]}\n```", *_tables(command)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _tables(command: Noted) -> list[str]:
    parts = [_table(command.options)]
    for group in command.groups:
        parts += [f"**{_capital(group.title)}**", _table(group.options)]
    if command.title == "train":
        # What is said above is of the default model.
        for model, (config, _) in registry.BUILT_IN.items():
            if config is not None and model != Recipe().model_name:
                parser = Noted()
                add_commands(parser, Recipe(model))  # type: ignore[arg-type]
                last = parser.commands["train"].groups[-1]
                heading = f"**{_capital(last.title)}**, with `--model {model}`"
                parts += [heading, _table(last.options)]
    return [part for part in parts if part]


def _table(options: list[tuple[tuple[str, ...], dict[str, Any]]]) -> str:
    if not options:
        return ""
    rows = ["| option | default | meaning |", "| --- | --- | --- |"]
    rows += [f"| {' | '.join(_row(names, given))} |" for names, given in options]
    return "\n".join(rows)


def _row(names: tuple[str, ...], given: dict[str, Any]) -> tuple[str, str, str]:
    """The option, its default and what it says."""
    words = given.get("help", "").replace("%%", "%")
    default = given.get("default")
    told = re.fullmatch(r"(.*) \(default: (.*)\)", words, re.DOTALL)
    if told:
        words, default = told.groups()
    elif default in (None, False, argparse.SUPPRESS):
        default = ""
    else:
        default = str(default)
    if not names[0].startswith("-"):
        option = names[0].upper() if "nargs" not in given else f"[{names[0].upper()}]"
    else:
        option = ", ".join([*names, *_negated(names, given)])
        option += _value(names, given)
    cells = (f"`{option}`", f"`{default}`" if default else "", words)
    return tuple(cell.replace("|", r"\|") for cell in cells)  # type: ignore[return-value]


def _negated(names: tuple[str, ...], given: dict[str, Any]) -> list[str]:
    if given.get("action") is not argparse.BooleanOptionalAction:
        return []
    return [f"--no-{name.removeprefix('--')}" for name in names]


def _value(names: tuple[str, ...], given: dict[str, Any]) -> str:
    """What follows the option."""
    action = given.get("action", "store")
    if action not in ("store", "append"):
        return ""
    value = given.get("metavar")
    if value is None and given.get("choices"):
        value = "|".join(map(str, given["choices"]))
    if value is None:
        value = given.get("dest", names[-1].lstrip("-")).upper().replace("-", "_")
    many = {"+": f"{value} ...", "*": f"[{value} ...]", "?": f"[{value}]"}
    return f" {many.get(given.get('nargs'), value)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {PAGE}")
