"""Commands, options and their help. Imports no Keras."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from keras_multvae import __version__
from keras_multvae.cli.add_items_options import add_add_items_options
from keras_multvae.cli.common_options import PARTS, add_import_option
from keras_multvae.cli.compare_options import add_compare_options
from keras_multvae.cli.data_options import add_prepare_options, check_prepare
from keras_multvae.cli.examples import epilog_of
from keras_multvae.cli.model_options import (
    add_recipe_options,
    converter,
    recipe_of,
    take_imports,
)
from keras_multvae.cli.recommend_options import (
    add_recommend_options,
    add_reranking_options,
    add_similar_options,
    check_recommend,
    check_reranking,
)
from keras_multvae.cli.serving_options import (
    add_export_options,
    add_serve_options,
    check_export,
)
from keras_multvae.cli.tune_options import add_tune_options
from keras_multvae.compat import DefaultsHelpFormatter
from keras_multvae.settings import NON_NEGATIVE_INT, POSITIVE_INT
from keras_multvae.start import DEBUG
from keras_multvae.training.recipe import Recipe

DISTRIBUTIONS = ("data", "items")
_AddOptions = Callable[[argparse.ArgumentParser], None]
_positive, _non_negative = converter(POSITIVE_INT), converter(NON_NEGATIVE_INT)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments of a command; `run` is its function, "module:name".

    Raises:
        SystemExit: With status 2 for a usage error, with 0 for --help or --version.
    """
    parser = argparse.ArgumentParser(
        prog="keras-multvae",
        description="Mult-VAE: from raw ratings to served recommendations.",
        epilog=(
            "The environment variable KERAS_BACKEND chooses tensorflow, jax or torch. "
            f"{DEBUG}=1 shows where an error came from, and the frameworks' logs."
        ),
    )
    parser.add_argument("--version", action="version", version=__version__)
    recipe = Recipe()
    try:
        take_imports(arguments)
        if "train" in arguments[:1]:
            recipe = recipe_of(arguments)
    except (ValueError, TypeError, OSError, ImportError) as error:
        parser.error(str(error))
    add_commands(parser, recipe)
    parsed = parser.parse_args(arguments)
    _check(parser, parsed)
    return parsed


def _check(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Checks combinations of options."""
    checks = {
        "prepare": check_prepare,
        "recommend": check_recommend,
        "evaluate": check_reranking,
        "export": check_export,
    }
    if parsed.command in checks:
        wrong = checks[parsed.command](parsed)
        if wrong is not None:
            parser.error(wrong)
    if parsed.command == "tune" and parsed.engine != "ray" and parsed.address:
        parser.error("--address needs --engine ray.")


def add_commands(parser: argparse.ArgumentParser, recipe: Recipe) -> None:
    """Adds the commands; `recipe` determines the options of `train`."""
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run, summary, add_options in _commands():
        _add_command(subparsers, name, run, summary, add_options, recipe)


def _commands() -> tuple[tuple[str, str, str, _AddOptions], ...]:
    """Names, functions as "module:name", summaries, and functions that add options."""
    return (*_commands_that_train(), *_commands_of_models())


def _commands_that_train() -> tuple[tuple[str, str, str, _AddOptions], ...]:
    return (
        (
            "prepare",
            "preparing:prepare",
            "Read raw ratings and split the users.",
            add_prepare_options,
        ),
        ("train", "training:train", "Train on a prepared folder.", _train_options),
        (
            "tune",
            "tuning:tune",
            "Search model and settings for some minutes; keep the best.",
            add_tune_options,
        ),
        (
            "evaluate",
            "commands:evaluate",
            "Measure a model on its test users.",
            _evaluate_options,
        ),
        (
            "compare",
            "comparing:compare",
            "Train several models and put their test figures side by side.",
            add_compare_options,
        ),
    )


def _commands_of_models() -> tuple[tuple[str, str, str, _AddOptions], ...]:
    return (
        (
            "recommend",
            "recommending:recommend",
            "Recommend for histories, for users, or for everybody.",
            add_recommend_options,
        ),
        (
            "similar",
            "recommending:similar",
            "Show the items that are most like some.",
            add_similar_options,
        ),
        (
            "export",
            "commands:export",
            "Write a SavedModel for TensorFlow Serving, or an ONNX model.",
            add_export_options,
        ),
        (
            "serve",
            "commands:serve",
            "Serve a SavedModel over HTTP and gRPC, with a page to try it on.",
            add_serve_options,
        ),
        (
            "add-items",
            "adding:add_items",
            "Add items that nobody has clicked yet to a model, by their features.",
            add_add_items_options,
        ),
        ("verify", "verifying:verify", "Check a folder for damage.", _verify_options),
        (
            "demo",
            "demo:demo",
            "Do all of it on MovieLens, in about two minutes.",
            _demo_options,
        ),
    )


def _add_command(
    subparsers: Any,
    name: str,
    run: str,
    summary: str,
    add_options: _AddOptions,
    recipe: Recipe,
) -> None:
    sub = subparsers.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=epilog_of(name),
        formatter_class=DefaultsHelpFormatter,
    )
    sub.set_defaults(run=f"keras_multvae.cli.{run}")
    if add_options is _train_options:
        sub.set_defaults(defaults=recipe)
        add_recipe_options(sub, recipe)
    add_options(sub)


def _train_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("prepared", help="folder that prepare wrote")
    sub.add_argument("--out", required=True, help="folder for the model")
    add_import_option(sub)
    sub.add_argument(
        "--warm-start",
        metavar="MODEL",
        help="folder of a model of the same class and size whose weights to begin "
        "with, for data that have grown",
    )
    sub.add_argument(
        "--tensorboard",
        metavar="DIR",
        help="folder for the curves of the training, for TensorBoard",
    )
    sub.add_argument(
        "--distribute",
        choices=DISTRIBUTIONS,
        help="train on all devices, on JAX: shard the users of a batch, or the item "
        "embeddings",
    )
    sub.add_argument(
        "--item-parts",
        type=_positive,
        help="number of item shards; default: one for each device",
    )
    sub.add_argument(
        "--coordinator",
        help="HOST:PORT of the main one of several processes, which all run this "
        "command; auto where JAX detects it, as on TPU pods and under Slurm",
    )
    sub.add_argument("--processes", type=_positive, help="number of processes")
    sub.add_argument(
        "--process", type=_non_negative, help="number of this process, from 0"
    )
    sub.add_argument(
        "--no-histories",
        dest="histories",
        action="store_false",
        help="do not store the users' histories, which `recommend --user` and `--all` "
        "look up",
    )
    again = sub.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="go on with an interrupted training"
    )
    again.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the model in --out, and an interrupted training",
    )
    sub.add_argument("--json", action="store_true", help="one JSON object to stdout")


def _evaluate_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", help="folder that train wrote")
    sub.add_argument("prepared", help="folder that prepare wrote")
    sub.add_argument(
        "--part",
        choices=PARTS[1:],
        default="test",
        help="which held-out users to evaluate",
    )
    sub.add_argument(
        "--metrics",
        type=lambda text: text.split(","),
        default="recall@20,recall@50,ndcg@100",
        help="names of metrics with @k, separated by commas; besides accuracy: "
        "coverage, gini, novelty, diversity, serendipity, popularity_lift, "
        "miscalibration, ndcg_by_decile",
    )
    sub.add_argument(
        "--label", help="for miscalibration: a feature of labels that the model keeps"
    )
    add_reranking_options(sub.add_argument_group("lists chosen anew"))
    sub.add_argument("--json", action="store_true", help="one JSON object to stdout")
    add_import_option(sub)


def _verify_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "folder",
        help="folder that prepare, train, tune, export or recommend wrote: data, a "
        "model, an interrupted training, all versions of an exported model",
    )
    add_import_option(sub)


def _demo_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", default="demo", help="folder for data and model")
    sub.add_argument(
        "--saved-models", default="saved_models", help="folder for the SavedModel"
    )
    sub.add_argument("--seed", type=int, default=0, help="seed of the training")
