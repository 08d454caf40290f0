"""The command line: `keras-multvae`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from keras_multvae import __version__
from keras_multvae.cli import commands, demo, training
from keras_multvae.layers.sampler import SAMPLERS
from keras_multvae.losses import LIKELIHOODS
from keras_multvae.models.multvae import OUTPUTS, TABLE_DTYPES
from keras_multvae.training import MODELS, Recipe

DEBUG = "KERAS_MULTVAE_DEBUG"
# What bad files and arguments raise; TypeError is for ids that are decimal or missing.
FAILURES = (ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError)
PARTS = ("train", "validation", "test")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, or 1 with one line on standard error."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command == "prepare" and (
        parsed.min_rating is not None and parsed.rating_column is None
    ):
        parser.error("--min-rating needs --rating-column.")
    if parsed.command == "recommend":
        if parsed.engine == "ray" and parsed.out is None:
            parser.error("--engine ray needs --out FOLDER.")
        if parsed.engine != "ray" and (parsed.address or parsed.workers):
            parser.error("--address and --workers need --engine ray.")
    try:
        parsed.run(parsed)
    except FAILURES as error:
        if os.environ.get(DEBUG):
            raise
        print(f"keras-multvae {parsed.command}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"keras-multvae {parsed.command}: interrupted", file=sys.stderr)
        return 1
    return 0


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults in the help, where there are any to tell."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-multvae",
        description="Mult-VAE: from raw ratings to served recommendations.",
        epilog=(
            "The environment variable KERAS_BACKEND chooses tensorflow, jax or torch. "
            f"{DEBUG}=1 shows where an error came from."
        ),
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[Any], None], summary: str
    ) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(
            name, help=summary, description=summary, formatter_class=_Help
        )
        sub.set_defaults(run=run)
        return sub

    _prepare_options(
        command("prepare", commands.prepare, "Read raw ratings and split the users.")
    )
    _train_options(command("train", training.train, "Train on a prepared folder."))

    sub = command("evaluate", commands.evaluate, "Measure a model on its test users.")
    sub.add_argument("model", help="folder that train wrote")
    sub.add_argument("prepared", help="folder that prepare wrote")
    sub.add_argument(
        "--part",
        choices=PARTS[1:],
        default="test",
        help="which held-out users",
    )
    sub.add_argument(
        "--metrics",
        type=lambda text: text.split(","),
        default="recall@20,recall@50,ndcg@100",
        help="names with @k, separated by commas",
    )
    sub.add_argument("--json", action="store_true", help="one JSON object to stdout")

    sub = command(
        "recommend", commands.recommend, "Recommend for histories, or for many users."
    )
    sub.add_argument("model", help="folder that train wrote")
    sub.add_argument(
        "histories",
        nargs="?",
        default="-",
        help="file with one JSON list of item ids a line; - for standard input; with "
        "--out, the folder that prepare wrote, or a CSV or Parquet file, or a folder "
        "of them, with the columns user_id and item_id",
    )
    sub.add_argument("-k", type=_positive, default=10, help="items a history")
    sub.add_argument(
        "--out",
        help="Parquet file to make, for many users: user_id, rank, item_id, score; "
        "with --engine ray, a folder of them",
    )
    sub.add_argument(
        "--all",
        action="store_true",
        help="with --out: all users whose histories the model keeps",
    )
    sub.add_argument(
        "--part",
        choices=PARTS,
        default="train",
        help="with --out: which users of the prepared folder",
    )
    sub.add_argument(
        "--on-unknown", choices=["raise", "skip"], default="raise", help="unknown ids"
    )
    sub.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="with --out: this process, or a Ray cluster",
    )
    sub.add_argument(
        "--address",
        help="with --engine ray: HOST:PORT of the cluster; default: that of "
        "RAY_ADDRESS, or on this machine",
    )
    sub.add_argument(
        "--workers",
        type=_positive,
        help="with --engine ray: processes at work; default: one a node",
    )
    sub.add_argument(
        "--json", action="store_true", help="one JSON object a history, or for --out"
    )

    sub = command(
        "export", commands.export, "Write a SavedModel for TensorFlow Serving."
    )
    sub.add_argument("model", help="folder that train wrote")
    sub.add_argument("--out", required=True, help="as in saved_models/NAME")
    sub.add_argument("--version", type=_positive, help="default: the next free number")
    sub.add_argument("-k", type=_positive, default=100, help="items a request")
    sub.add_argument(
        "--keep", type=_positive, help="versions that stay; default: all of them"
    )
    sub.add_argument(
        "--quantize",
        choices=["bfloat16", "int8"],
        help="keep the item tables in a half or a quarter of the memory",
    )
    sub.add_argument(
        "--prepared",
        help="for the model card: folder that prepare wrote, to count and to evaluate",
    )
    sub.add_argument("--data-name", help="for the model card: what the data are")
    sub.add_argument(
        "--licence",
        help="for the model card: terms of the data; movielens for those of MovieLens",
    )

    sub = command(
        "serve",
        commands.serve,
        "Serve a SavedModel over HTTP, with a page to try it on.",
    )
    sub.add_argument("saved_model", help="folder of a model, as in saved_models/NAME")
    sub.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all"
    )
    sub.add_argument("--port", type=_non_negative, default=8501, help="0 for any")
    sub.add_argument(
        "--max-request-mib",
        type=_positive,
        default=8,
        help="larger requests are refused",
    )

    sub = command("demo", demo.demo, "Do all of it on MovieLens, in about two minutes.")
    sub.add_argument("--out", default="demo", help="folder for data and model")
    sub.add_argument(
        "--saved-models", default="saved_models", help="folder for the SavedModel"
    )
    sub.add_argument("--seed", type=int, default=0, help="of the training")
    return parser


def _prepare_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("ratings", help="CSV or Parquet file, or a folder of part files")
    sub.add_argument("--out", required=True, help="the folder to make")
    sub.add_argument("--user-column", default="user_id", help="of user ids")
    sub.add_argument("--item-column", default="item_id", help="of item ids")
    sub.add_argument("--rating-column", help="needed for --min-rating")
    sub.add_argument("--timestamp-column", help="kept in the folder")
    sub.add_argument("--value-column", help="weights of events, e.g. play counts")
    sub.add_argument("--separator", help="of a CSV file; default: comma, tab in .tsv")
    sub.add_argument("--min-rating", type=float, help="keep ratings of this or more")
    sub.add_argument(
        "--min-user-items",
        type=_positive,
        default=5,
        help="users with fewer are dropped",
    )
    sub.add_argument(
        "--min-item-users",
        type=_positive,
        default=1,
        help="items with fewer are dropped, before users",
    )
    sub.add_argument(
        "--duplicates", choices=["collapse", "count"], default="collapse",
        help="what becomes of a user's repeated item",
    )  # fmt: skip
    for part in ("validation", "test"):
        sub.add_argument(
            f"--{part}-users",
            type=_non_negative,
            help=f"users held out for {part}; default: a tenth",
        )
    sub.add_argument("--seed", type=int, default=98765, help="of the split")
    sub.add_argument("--items", help="CSV or Parquet file with titles")
    sub.add_argument("--title-column", default="title", help="in the file of --items")
    sub.add_argument("--json", action="store_true", help="one JSON object to stdout")


def _train_options(sub: argparse.ArgumentParser) -> None:
    recipe = Recipe()
    sub.add_argument("prepared", help="folder that prepare wrote")
    sub.add_argument("--out", required=True, help="folder for the model")
    for name, type_, words in (
        ("epochs", _positive, "passes over the users"),
        ("batch_size", _positive, "users a step"),
        ("learning_rate", _above_zero, "of Adam"),
        ("latent_dim", _positive, "size of the latent vector"),
        ("dropout", _share, "share of clicks dropped"),
        ("beta_cap", _zero_or_more, "where the KL weight stops rising"),
        ("l2", _zero_or_more, "regularisation of the kernels of a MultDAE"),
        ("num_sampled", _positive, "items drawn for a batch, with --output sampled"),
        ("seed", int, "of weights, noise and the order of users"),
    ):
        sub.add_argument(
            f"--{name.replace('_', '-')}",
            type=type_,
            default=getattr(recipe, name),
            help=words,
        )
    sub.add_argument(
        "--hidden-dims",
        type=_dims,
        default=",".join(map(str, recipe.hidden_dims)),
        help="sizes separated by commas; empty for a linear model",
    )
    sub.add_argument(
        "--anneal-steps",
        type=_zero_or_more,
        help="steps in which beta would reach 1; by default it reaches its cap after "
        "half of the training",
    )
    for name, choices, words in (
        ("model", MODELS, "variational or denoising"),
        ("likelihood", LIKELIHOODS, "of clicks"),
        (
            "output",
            OUTPUTS,
            "logits of all items in a step, or of some for a large catalogue",
        ),
        ("sampler", SAMPLERS, "how these are drawn"),
    ):
        sub.add_argument(
            f"--{name}",
            choices=list(choices),
            default=getattr(recipe, name),
            help=words,
        )
    sub.add_argument(
        "--tied",
        action="store_true",
        help="one item table for encoder and decoder",
    )
    sub.add_argument(
        "--table-dtype",
        choices=TABLE_DTYPES,
        help="item tables and their moments in half of the memory, with --output "
        "sampled",
    )
    sub.add_argument(
        "--distribute",
        choices=training.DISTRIBUTIONS,
        help="train on all devices, on JAX: each takes some users of a batch, or has "
        "some rows of the item tables",
    )
    sub.add_argument(
        "--item-parts",
        type=_positive,
        help="parts of the item tables; default: one a device",
    )
    sub.add_argument(
        "--blocks",
        type=_positive,
        help="parts of a batch, a multiple of its replicas: a training with the same "
        "number of blocks is the same on any number of replicas",
    )
    sub.add_argument(
        "--coordinator",
        help="HOST:PORT of the first of several processes, which all run this command; "
        "auto where JAX finds out, as on TPU pods and under Slurm",
    )
    sub.add_argument("--processes", type=_positive, help="how many there are")
    sub.add_argument("--process", type=_non_negative, help="which one this is, from 0")
    sub.add_argument(
        "--resume", action="store_true", help="go on with an interrupted training"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object to stdout")


def _number(
    kind: Callable[[str], Any], fits: Callable[[Any], bool], wanted: str
) -> Callable[[str], Any]:
    """A type for argparse that says what it wanted."""

    def convert(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and fits(number)):
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")
        return number

    return convert


_positive = _number(int, lambda n: n >= 1, "a whole number, 1 or more")
_non_negative = _number(int, lambda n: n >= 0, "a whole number, 0 or more")
_above_zero = _number(float, lambda x: x > 0, "a number above 0")
_zero_or_more = _number(float, lambda x: x >= 0, "a number, 0 or more")
_share = _number(float, lambda x: 0 <= x < 1, "a number, 0 or more and below 1")


def _dims(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(",") if part.strip())
