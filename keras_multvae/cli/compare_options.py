"""The options of `compare`. Imports no Keras."""

from __future__ import annotations

import argparse
from pathlib import Path

from keras_multvae import registry
from keras_multvae.cli.common_options import add_import_option
from keras_multvae.training.recipe import trained_names

# The suffix of the name of a model with a linear path.
LINEAR = "+ease"


def add_compare_options(sub: argparse.ArgumentParser) -> None:
    """Adds the options of `compare`."""
    sub.add_argument("prepared", help="folder that prepare wrote")
    sub.add_argument(
        "--models",
        type=_models,
        metavar="NAME,NAME,...",
        help="models to compare, the last with all others; NAME+ease has a linear path "
        "beside it, the folder of a model or a JSON file stands for its recipe; "
        "default: Popularity, EASE, MultVAE and MultVAE+ease",
    )
    sub.add_argument(
        "--out", help="folder to make, of comparison.json and a folder for each model"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object to stdout")
    add_import_option(sub)


def _models(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known, trained = registry.names(), trained_names()
    for name in names:
        plain = name.removesuffix(LINEAR)
        good = plain in trained if name.endswith(LINEAR) else name in known
        if not (good or Path(name).exists()):
            raise argparse.ArgumentTypeError(
                f"must be of {', '.join(known)}, of {', '.join(trained)} with {LINEAR} "
                f"after it, or a model's folder or JSON file, not {name!r}"
            )
    if not names:
        raise argparse.ArgumentTypeError("must name at least one model")
    return names
