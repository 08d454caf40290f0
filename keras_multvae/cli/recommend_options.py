"""The options of `recommend` and `similar`. Imports no Keras."""

from __future__ import annotations

import argparse

from keras_multvae.cli.common_options import (
    PARTS,
    add_engine_options,
    add_import_option,
)
from keras_multvae.cli.data_options import (
    add_events_options,
    check_ratings,
    events_options_given,
)
from keras_multvae.cli.model_options import converter
from keras_multvae.compat import ArgumentGroup
from keras_multvae.settings import NON_NEGATIVE_INT, POSITIVE_INT, Number
from keras_multvae.typing import Json

_positive, _non_negative = converter(POSITIVE_INT), converter(NON_NEGATIVE_INT)
_share = converter(Number(float, lambda x: 0 <= x <= 1, "a number in [0, 1]"))


def add_recommend_options(sub: argparse.ArgumentParser) -> None:
    """Adds the options of `recommend`."""
    sub.add_argument("model", help="folder that train wrote")
    sub.add_argument(
        "histories",
        nargs="?",
        metavar="FILE",
        help="histories of the users to recommend for: a file or folder of events of "
        "any kind that prepare reads, JSON lines that are lists of item ids, or a "
        "folder that prepare wrote; default: JSON lines from standard input",
    )
    stored = sub.add_mutually_exclusive_group()
    stored.add_argument(
        "--user",
        nargs="+",
        metavar="ID",
        help="instead of FILE: users with histories in the model's folder",
    )
    stored.add_argument(
        "--all",
        action="store_true",
        help="instead of FILE: all users with histories in the model's folder",
    )
    _ranking_options(sub.add_argument_group("what is recommended"))
    _output_options(sub.add_argument_group("where to"))
    add_events_options(sub)
    sub.add_argument(
        "--part",
        choices=PARTS,
        help="which users of the folder that prepare wrote; default: train",
    )
    sub.add_argument(
        "--on-unknown", choices=["raise", "skip"], default="raise", help="unknown ids"
    )
    add_import_option(sub)


def add_similar_options(sub: argparse.ArgumentParser) -> None:
    """Adds the options of `similar`."""
    sub.add_argument("model", help="folder that train wrote")
    sub.add_argument("items", nargs="+", metavar="ID", help="id of an item")
    sub.add_argument("-k", "--k", type=_positive, default=10, help="items for each")
    sub.add_argument(
        "--json", action="store_true", help="one JSON object for each item"
    )
    add_import_option(sub)


def check_recommend(parsed: argparse.Namespace) -> str | None:
    """Checks combinations of options of `recommend`; the error, or None."""
    if parsed.user or parsed.all:
        option = "--user" if parsed.user else "--all"
        given = events_options_given(parsed) + ["--part"] * (parsed.part is not None)
        if parsed.histories is not None:
            return (
                f"{option} takes the histories that the model keeps: leave "
                f"{parsed.histories} out."
            )
        if given:
            return f"{given[0]} goes with FILE, not with {option}."
    if parsed.reasons and parsed.out is not None:
        return "--reasons goes without --out: its file has no place for them."
    wrong = check_reranking(parsed)
    if wrong is not None:
        return wrong
    if parsed.engine == "ray" and reranking_of(parsed):
        return "--diversity, --calibration and --at-most go without --engine ray."
    if parsed.engine == "ray" and parsed.out is None:
        return "--engine ray needs --out FOLDER."
    if parsed.engine == "ray" and parsed.user:
        return "--engine ray goes with --all or FILE, not with --user."
    if parsed.engine != "ray" and (parsed.address or parsed.workers):
        return "--address and --workers need --engine ray."
    return check_ratings(parsed)


def add_reranking_options(group: ArgumentGroup) -> None:
    """What lists are to be besides accurate."""
    for name, what in (
        ("diversity", "what unlikeness to what is on the list already counts"),
        ("calibration", "what the history's mix of the labels of --by counts"),
    ):
        group.add_argument(
            f"--{name}",
            type=_share,
            default=0.0,
            metavar="SHARE",
            help=f"from 0 to 1, {what}, in place of the score",
        )
    group.add_argument(
        "--at-most",
        type=_positive,
        metavar="N",
        help="items of any one label of --by in a list",
    )
    group.add_argument("--by", metavar="FEATURE", help="of labels, as genres")
    group.add_argument(
        "--candidates",
        type=_positive,
        default=100,
        help="best items among which --diversity, --calibration and --at-most choose",
    )


def reranking_of(parsed: argparse.Namespace) -> Json:
    """The arguments of `Reranking`; none where nothing is wanted."""
    names = ("diversity", "calibration", "at_most", "by", "candidates")
    found = {name: getattr(parsed, name) for name in names}
    return found if any(found[name] for name in names[:3]) else {}


def check_reranking(parsed: argparse.Namespace) -> str | None:
    """What options of re-ranking do not go together; None if they do."""
    by_label = parsed.calibration or parsed.at_most is not None
    if by_label and parsed.by is None:
        return "--calibration and --at-most need --by FEATURE, the labels they go by."
    if parsed.diversity + parsed.calibration > 1:
        return "--diversity and --calibration are shares: together at most 1."
    return None


def _ranking_options(group: ArgumentGroup) -> None:
    group.add_argument(
        "-k", "--k", type=_positive, default=10, help="items for each user"
    )
    group.add_argument(
        "--niche",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="from 0 to 1, how much of an item's popularity is taken off its score",
    )
    group.add_argument(
        "--reasons",
        type=_non_negative,
        default=0,
        metavar="N",
        help="items of the history to name as the reasons of each recommendation",
    )
    add_reranking_options(group)
    for name, what in (("allow", "recommend no others"), ("deny", "never recommend")):
        group.add_argument(
            f"--{name}",
            nargs="+",
            metavar="FILE_OR_ID",
            help=f"{what}: item ids, or files with an id a line",
        )


def _output_options(group: ArgumentGroup) -> None:
    group.add_argument(
        "--out",
        help="Parquet file to make: user_id, rank, item_id, score; with --engine ray, "
        "a folder of them",
    )
    group.add_argument(
        "--json", action="store_true", help="one JSON object a user, or for --out"
    )
    add_engine_options(group, "with --out: this process, or a Ray cluster")
    group.add_argument(
        "--workers",
        type=_positive,
        help="with --engine ray: processes at work; default: one a node",
    )
