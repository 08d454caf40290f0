"""The options of `tune`. No Keras here."""

from __future__ import annotations

import argparse

from keras_multvae.cli.common_options import add_engine_options, add_import_option
from keras_multvae.cli.model_options import converter
from keras_multvae.settings import NON_NEGATIVE_INT, POSITIVE, POSITIVE_INT


def add_tune_options(sub: argparse.ArgumentParser) -> None:
    """Options for whatever `keras_multvae.tune` takes."""
    sub.add_argument("prepared", help="folder that prepare wrote")
    sub.add_argument(
        "--out", required=True, help="folder for the model; the study is in OUT.tuning"
    )
    sub.add_argument(
        "--minutes", type=converter(POSITIVE), default=60.0, help="for all of it"
    )
    sub.add_argument(
        "--models",
        type=lambda text: [name for name in text.split(",") if name],
        metavar="NAME,NAME,...",
        help="models to try; default: ours that are trained",
    )
    sub.add_argument(
        "--recipe",
        metavar="FOLDER_OR_FILE",
        help="a model's folder, or JSON: the settings that are not searched",
    )
    sub.add_argument(
        "--trials", type=converter(POSITIVE_INT), help="end after so many, if earlier"
    )
    sub.add_argument(
        "--processes",
        type=converter(POSITIVE_INT),
        default=1,
        help="trainings at a time",
    )
    add_engine_options(
        sub, "where the processes are: on this machine, or on a Ray cluster"
    )
    sub.add_argument(
        "--resume",
        action="store_true",
        help="go on with a study, or join the processes that are at work on it",
    )
    sub.add_argument(
        "--seed", type=converter(NON_NEGATIVE_INT), default=0, help="of the search"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object to stdout")
    add_import_option(sub)
