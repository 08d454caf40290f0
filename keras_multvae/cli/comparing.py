"""The command `compare`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from keras_multvae import Comparison, LinearPath, Recipe, Recommender
from keras_multvae import compare as compare_models
from keras_multvae.cli.compare_options import LINEAR
from keras_multvae.cli.output import print_result
from keras_multvae.data import Prepared, load_prepared
from keras_multvae.data.columns.spilled import spilling_into
from keras_multvae.files import replace_folder, write_json
from keras_multvae.registry import find, names
from keras_multvae.selection import default_models
from keras_multvae.training.record import read_recipe
from keras_multvae.training.trainer import record
from keras_multvae.typing import Model


def compare(arguments: argparse.Namespace) -> None:
    """Prepared folder -> a table, and a folder of models on request."""
    out = None if arguments.out is None else Path(arguments.out)
    # Check that the folder can be written before hours of training.
    if (
        out is not None
        and out.exists()
        and not (out.is_dir() and not any(out.iterdir()))
    ):
        raise FileExistsError(
            f"{out} exists and will not be replaced. Choose another name or remove it."
        )
    prepared = load_prepared(arguments.prepared)
    models = _models(arguments.models, prepared.split.train.num_items)
    found = compare_models(prepared.split, models, progress=True)
    if out is not None:
        _write(found, prepared, out)
    print_result(
        {**found.to_dict(), **({} if out is None else {"out": str(out)})},
        str(found) + ("" if out is None else f"\nWritten to {out}"),
        arguments.json,
    )


def _models(given: list[str] | None, num_items: int) -> dict[str, Model] | None:
    """The models for `keras_multvae.compare`; None for its default."""
    if given is None:
        return None
    found: dict[str, Model] = {}
    for name in given:
        label = Path(name).stem if Path(name).exists() and not _known(name) else name
        if label in found:
            raise ValueError(f"--models has two that are called {label}: rename one.")
        found[label] = _model(name, num_items)
    return found


def _known(name: str) -> bool:
    """Whether a name is a model's, perhaps with the suffix of a linear path."""
    return name.removesuffix(LINEAR) in names()


def _model(name: str, num_items: int) -> Model:
    """A candidate by its name, or by its recipe's folder or file."""
    if not _known(name):
        return read_recipe(Path(name))
    if name.endswith(LINEAR):
        return Recipe(
            name.removesuffix(LINEAR), linear_path=LinearPath.of_size(num_items)
        )
    if find(name).config is not None:
        return Recipe(name)
    # With the default settings of `compare`.
    defaults = default_models(num_items)
    return defaults[name] if name in defaults else find(name).model(num_items)


def _write(found: Comparison, prepared: Prepared, out: Path) -> None:
    """Writes the metrics and a recommender for each model, completely or not at all."""
    split = prepared.split
    with spilling_into(out.absolute().parent), replace_folder(out) as temporary:
        write_json(temporary / "comparison.json", found.to_dict())
        histories = split.histories()
        for name, model in found.models.items():
            chosen = found.chosen[name]
            recommender = Recommender(
                model,
                split.train.items,
                histories=histories,
                titles=prepared.titles,
                training=record(split, chosen) if isinstance(chosen, Recipe) else None,
                features=prepared.features,
            )
            recommender.save(temporary / re.sub(r"[^\w.]+", "-", name))
