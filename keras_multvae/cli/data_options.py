"""Options of `prepare` and of other commands that read files. Imports no Keras."""

from __future__ import annotations

import argparse
from typing import Any

from keras_multvae.cli.model_options import converter
from keras_multvae.compat import ArgumentGroup
from keras_multvae.features.kinds import KINDS, SEPARATOR
from keras_multvae.settings import NON_NEGATIVE_INT, POSITIVE_INT

SPLITS = ("strong", "time", "last-out", "holdout")
# Options for reading files, by the names of `read_interactions`' arguments.
COLUMNS = (
    "user_column",
    "item_column",
    "rating_column",
    "timestamp_column",
    "value_column",
)
DIALECT = ("separator", "quote", "encoding", "null", "columns", "decimal", "id_type")
FILTERS = (
    "min_rating",
    "min_user_items",
    "min_item_users",
    "k_core",
    "duplicates",
    "drop_missing",
    "time_unit",
)
# The filters of events, as opposed to filters of users and items.
EVENT_FILTERS = ("min_rating", "duplicates", "drop_missing", "time_unit")
_positive, _non_negative = converter(POSITIVE_INT), converter(NON_NEGATIVE_INT)


def add_reading_options(sub: argparse.ArgumentParser) -> None:
    """Adds options for files of events: columns and dialect."""
    group = sub.add_argument_group("files")
    group.add_argument("--user-column", default="user_id", help="column of user ids")
    group.add_argument("--item-column", default="item_id", help="column of item ids")
    group.add_argument("--rating-column", help="column for --min-rating")
    group.add_argument(
        "--timestamp-column",
        help="column of times: seconds or milliseconds since 1970, dates, ISO text",
    )
    group.add_argument(
        "--value-column", help="column of event weights, e.g. play counts"
    )
    add_text_options(group)
    group.add_argument(
        "--decimal",
        choices=[".", ","],
        default=".",
        help="decimal mark of numbers in a text file",
    )
    group.add_argument(
        "--time-unit",
        choices=["auto", "s", "ms", "us", "ns"],
        default="auto",
        help="unit of numeric times; auto: by their size",
    )
    group.add_argument(
        "--drop-missing",
        action="store_true",
        help="drop rows with a missing value, instead of refusing them",
    )


def add_text_options(group: ArgumentGroup) -> None:
    """Adds options for the dialect of text files, of events and of items."""
    group.add_argument(
        "--separator",
        help="separator of fields in a text file, such as ';', '::' or tab; default: "
        "comma, or tab in .tsv",
    )
    group.add_argument(
        "--quote",
        help='quote character in a text file, or none; default: ", or none if the '
        "separator is a tab or longer than one character",
    )
    group.add_argument("--encoding", help="encoding of a text file; default: utf-8")
    group.add_argument(
        "--null",
        nargs="+",
        metavar="VALUE",
        help="missing values in a text file, besides the empty field; default: "
        r"NULL \N NaN",
    )
    group.add_argument(
        "--columns",
        type=_names,
        metavar="NAME,NAME,...",
        help="fields of a text file without a header, as user,item,rating,timestamp",
    )
    group.add_argument(
        "--id-type",
        choices=["auto", "str", "int"],
        default="auto",
        help="type of ids in text files; auto: int if every id equals its int's text",
    )


def add_events_options(sub: argparse.ArgumentParser) -> None:
    """Adds options for files of events of which all users and items are kept."""
    add_reading_options(sub)
    _event_filter_options(sub.add_argument_group("what counts"))


def events_options_given(parsed: argparse.Namespace) -> list[str]:
    """The options of `add_events_options` that were given, as on the command line."""
    plain = argparse.ArgumentParser()
    add_events_options(plain)
    return [
        f"--{name.replace('_', '-')}"
        for name, value in vars(plain.parse_args([])).items()
        if getattr(parsed, name) != value
    ]


def add_prepare_options(sub: argparse.ArgumentParser) -> None:
    """Adds the options of `prepare`."""
    sub.add_argument(
        "ratings",
        help="CSV, TSV, JSON lines or Parquet file, or a folder of part files",
    )
    sub.add_argument("--out", required=True, help="the folder to make")
    add_reading_options(sub)
    _filter_options(sub.add_argument_group("what is kept"))
    _split_options(sub.add_argument_group("the split"))
    group = sub.add_argument_group("titles and features")
    group.add_argument("--items", help="file of any of these kinds, with titles")
    _items_file_options(group)
    group.add_argument(
        "--features",
        type=_features,
        metavar="NAME[:KIND],...",
        help="columns there that tell what items are, for those that nobody has "
        "clicked yet; KIND is labels, words or number, by default number where all "
        "values are and labels elsewhere",
    )
    sub.add_argument("--json", action="store_true", help="one JSON object to stdout")


def check_prepare(parsed: argparse.Namespace) -> str | None:
    """Checks combinations of options of `prepare`; the error, or None."""
    wrong = check_ratings(parsed)
    if wrong is not None:
        return wrong
    named = parsed.columns or ()
    if parsed.k_core is not None and (parsed.min_user_items or parsed.min_item_users):
        return "--k-core stands for --min-user-items and --min-item-users: leave these."
    timed = parsed.timestamp_column is not None or "timestamp" in named
    if parsed.split in ("time", "last-out") and not timed:
        return f"--split {parsed.split} needs --timestamp-column."
    if parsed.features is not None and parsed.items is None:
        return "--features needs --items, the file that has these columns."
    if parsed.validation_file is not None and parsed.test_file is None:
        return "--validation-file needs --test-file."
    for split, needed, options in (
        ("time", True, ("validation_from", "test_from")),
        ("holdout", True, ("test_file",)),
        ("holdout", False, ("validation_file",)),
        ("strong", False, ("validation_users", "test_users", "seed")),
    ):
        for name in options:
            option, given = f"--{name.replace('_', '-')}", getattr(parsed, name)
            if given is not None and parsed.split != split:
                return f"{option} goes with --split {split}."
            if needed and given is None and parsed.split == split:
                return f"--split {split} needs {option}."
    return None


def check_ratings(parsed: argparse.Namespace) -> str | None:
    """Checks the options for ratings; the error, or None."""
    rated = parsed.rating_column is not None or "rating" in (parsed.columns or ())
    if parsed.min_rating is not None and not rated:
        return "--min-rating needs --rating-column."
    if parsed.rating_column is not None and parsed.min_rating is None:
        return (
            "--rating-column needs --min-rating, the lowest rating that counts as "
            "liked: without it the worst would count like the best. Leave it out if "
            "every event counts."
        )
    return None


def given(parsed: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The values of options, by name."""
    return {name: getattr(parsed, name) for name in names}


def filters_of(parsed: argparse.Namespace) -> dict[str, Any]:
    """The filters of `prepare`, with defaults that depend on other options."""
    filters = given(parsed, FILTERS)
    whole = parsed.k_core is not None
    filters["min_user_items"] = parsed.min_user_items or (1 if whole else 5)
    filters["min_item_users"] = parsed.min_item_users or 1
    return filters


def _event_filter_options(group: ArgumentGroup) -> None:
    group.add_argument("--min-rating", type=float, help="keep ratings of this or more")
    group.add_argument(
        "--duplicates", choices=["collapse", "count"], default="collapse",
        help="merge repeated events of a user and an item: keep one, or add them up",
    )  # fmt: skip


def _filter_options(group: ArgumentGroup) -> None:
    _event_filter_options(group)
    group.add_argument(
        "--min-user-items",
        type=_positive,
        help="users with fewer are dropped; default: 5, with --k-core 1",
    )
    group.add_argument(
        "--min-item-users",
        type=_positive,
        help="items with fewer are dropped, before users; default: 1",
    )
    group.add_argument(
        "--k-core",
        type=_positive,
        metavar="K",
        help="users and items with fewer are dropped until all have as many",
    )


def _split_options(group: ArgumentGroup) -> None:
    group.add_argument(
        "--split",
        choices=SPLITS,
        default="strong",
        help="hold out whole users, events after two dates, each user's last events, "
        "or the events of separate files",
    )
    for part in ("validation", "test"):
        group.add_argument(
            f"--{part}-users",
            type=_non_negative,
            help=f"users held out for {part}, with strong; default: a tenth",
        )
    group.add_argument("--seed", type=int, help="with strong; default: 98765")
    for part in ("validation", "test"):
        group.add_argument(
            f"--{part}-from",
            metavar="WHEN",
            help=f"with time: when {part} begins, as 2024-06-01, 30d (before the last "
            "event) or 0.9 (of the events)",
        )
    for part in ("validation", "test"):
        group.add_argument(
            f"--{part}-file",
            metavar="FILE",
            help=f"with holdout: file of events for {part}, of training users",
        )


def _items_file_options(group: ArgumentGroup) -> None:
    group.add_argument(
        "--items-id-column", help="column of item ids there; default: --item-column"
    )
    group.add_argument(
        "--title-column",
        default="title",
        help="column of titles there; none for no titles",
    )
    group.add_argument(
        "--label-separator", default=SEPARATOR, help="separator of an item's labels"
    )
    for name, what in (
        ("separator", "separator of its fields"),
        ("encoding", "its encoding"),
    ):
        group.add_argument(f"--items-{name}", help=f"{what}; default: --{name}")
    group.add_argument(
        "--items-columns",
        type=_names,
        metavar="NAME,NAME,...",
        help="its fields, if it has no header",
    )


def _features(text: str) -> list[tuple[str, str | None]]:
    """Names of columns, and what each is to be read as."""
    found: list[tuple[str, str | None]] = []
    for each in _names(text):
        name, colon, kind = each.rpartition(":")
        if not colon:
            name, kind = each, ""
        if not name or (colon and kind not in KINDS):
            raise argparse.ArgumentTypeError(
                f"{each!r} is no NAME or NAME:KIND; KIND is one of {', '.join(KINDS)}"
            )
        found.append((name, kind or None))
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
