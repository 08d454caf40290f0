"""Options made from the settings of a model and of a recipe. Imports no Keras.

The options of `train` depend on its model, so `--import`, `--model` and `--recipe` are
parsed before the parser is made.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_multvae import registry
from keras_multvae.compat import ArgumentGroup
from keras_multvae.settings import Flag, Kind, OneOf, Settings, settings_of
from keras_multvae.training.recipe import Recipe, trained_names
from keras_multvae.training.record import read_recipe


def take_imports(arguments: Sequence[str]) -> None:
    """Imports the modules of --import, which may lie in the current folder.

    Raises:
        ImportError: There is no such module.
    """
    early = _early()
    early.add_argument("--import", dest="modules", action="append", default=[])
    modules = early.parse_known_args(arguments)[0].modules
    if modules and os.getcwd() not in sys.path:
        # `python -m` adds this folder, the installed script does not.
        sys.path.insert(0, os.getcwd())
    registry.import_modules(modules)


def recipe_of(arguments: Sequence[str]) -> Recipe:
    """The recipe with the default settings: that of --recipe, or of --model.

    Raises:
        ValueError: An unknown model, or what `read_recipe` raises.
    """
    early = _early()
    early.add_argument("--model")
    early.add_argument("--recipe", type=Path)
    found = early.parse_known_args(arguments)[0]
    if found.recipe is None:
        return Recipe(found.model or Recipe.model)
    recipe = read_recipe(found.recipe)
    if found.model is not None and found.model != recipe.model_name:
        raise ValueError(
            f"{found.recipe} is a recipe for {recipe.model_name}. Received besides: "
            f"--model {found.model}."
        )
    return recipe


def add_recipe_options(parser: argparse.ArgumentParser, recipe: Recipe) -> None:
    """Adds options for every setting of a recipe and of its model.

    The namespace has only those that are given; see `given_recipe`.
    """
    parser.add_argument(
        "--model",
        choices=trained_names(),
        default=recipe.model_name,
        help="model to train; its options are shown below",
    )
    parser.add_argument(
        "--recipe",
        metavar="FOLDER_OR_FILE",
        type=Path,
        help="recipe of a model's folder or of a JSON file; other options change it",
    )
    _add(parser.add_argument_group("training"), recipe)
    _add(parser.add_argument_group(f"settings of {recipe.model_name}"), recipe.model)


def given_recipe(parsed: argparse.Namespace, recipe: Recipe) -> Recipe:
    """The recipe, changed by the given options.

    Raises:
        ValueError: Settings that do not go together.
    """
    model = replace(recipe.model, **_given(parsed, recipe.model))
    return replace(recipe, model=model, **_given(parsed, recipe))


def converter(kind: Kind) -> Callable[[str], Any]:
    """A type function for argparse whose errors say what was expected."""

    def convert(text: str) -> Any:
        try:
            return kind.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"must be {error}, not {text!r}") from None

    return convert


def _early() -> argparse.ArgumentParser:
    """Parses some options and ignores all others."""
    return argparse.ArgumentParser(add_help=False, allow_abbrev=False)


def _add(group: ArgumentGroup, settings: Settings) -> None:
    for field in settings_of(settings):
        kind, help = field.metadata["kind"], field.metadata["help"]
        value = getattr(settings, field.name)
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(kind, OneOf):
            _add_choice(group, flag, kind, value, help)
        elif isinstance(kind, Flag):
            group.add_argument(
                flag,
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=help,
            )
        else:
            group.add_argument(
                flag,
                type=str if kind.choices else converter(kind),
                choices=kind.choices,
                metavar=kind.metavar,
                default=argparse.SUPPRESS,
                help=help + _shown(value),
            )


def _add_choice(
    group: ArgumentGroup, flag: str, kind: OneOf, value: object, help: str
) -> None:
    """Adds an option for the name of a class, and options for all its settings."""
    name = kind.name_of(value)
    group.add_argument(
        flag,
        choices=kind.choices,
        default=argparse.SUPPRESS,
        help=f"{help} (default: {name})",
    )
    for choice, cls in kind.classes.items():
        if cls is None:
            continue
        shown = value if choice == name else cls()
        for field in settings_of(cls):
            inner = field.metadata["kind"]
            group.add_argument(
                f"--{kind.option(field.name).replace('_', '-')}",
                type=str if inner.choices else converter(inner),
                choices=inner.choices,
                metavar=inner.metavar,
                default=argparse.SUPPRESS,
                help=f"with {flag} {choice}: {field.metadata['help']}"
                + _shown(getattr(shown, field.name)),
            )


def _shown(value: object) -> str:
    """The default for the help text."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        value = ",".join(map(str, value)) or "none"
    return f" (default: {value})"


def _given(parsed: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """The values of the options that were given, by name."""
    given = vars(parsed)
    found = {}
    for field in settings_of(settings):
        kind = field.metadata["kind"]
        if isinstance(kind, OneOf):
            value = _given_choice(given, field.name, kind, settings)
            if value is not getattr(settings, field.name):
                found[field.name] = value
        elif field.name in given:
            found[field.name] = given[field.name]
    return found


def _given_choice(
    given: dict[str, Any], name: str, kind: OneOf, settings: Settings
) -> object:
    value = getattr(settings, name)
    if name in given and given[name] != kind.name_of(value):
        value = kind.parse(given[name])
    for choice, cls in kind.classes.items():
        if cls is None:
            continue
        options = {f.name: kind.option(f.name) for f in settings_of(cls)}
        inner = {f: given[option] for f, option in options.items() if option in given}
        if not inner:
            continue
        if not isinstance(value, cls):
            option = options[next(iter(inner))].replace("_", "-")
            raise ValueError(
                f"--{option} goes with --{name.replace('_', '-')} {choice}."
            )
        value = replace(value, **inner)
    return value
