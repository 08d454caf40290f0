"""The command `prepare`."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from keras_multvae.cli.data_options import COLUMNS, DIALECT, filters_of, given
from keras_multvae.cli.item_files import features_of, titles_of
from keras_multvae.cli.output import print_result, status
from keras_multvae.data import (
    Interactions,
    Split,
    leave_last_out,
    read_interactions,
    save_prepared,
    strong_generalization,
    temporal_split,
)
from keras_multvae.data.columns.spilled import spilling_into
from keras_multvae.features import ItemFeatures
from keras_multvae.typing import Json

# Messages on lost events; `{}` is the number.
LOSSES = {
    "events_lost_to_missing": "{} events in which something is missing",
    "events_lost_to_min_rating": "{} events rated lower than --min-rating",
    "events_lost_to_zero_value": "{} events of value 0",
    "events_lost_as_duplicates": "{} events of a user and an item that came before",
    "entries_lost_to_min_item_users": "{} entries of items with too few users",
    "entries_lost_to_min_user_items": "{} entries of users with too few items",
    "entries_lost_to_k_core": "{} entries of users or items with too few of the others",
    "blank_lines": "{} blank lines",
}


def prepare(arguments: argparse.Namespace) -> None:
    """Ratings -> prepared folder."""
    # What does not fit in memory spills to the disk of the new folder.
    with spilling_into(Path(arguments.out).absolute().parent):
        _prepare(arguments)


def _prepare(arguments: argparse.Namespace) -> None:
    reading = given(arguments, (*COLUMNS, *DIALECT))
    filters = filters_of(arguments)
    interactions = read_interactions(
        arguments.ratings, progress=True, **reading, **filters
    )
    titles, features, described = None, None, 0
    if arguments.items is not None:
        titles = titles_of(arguments, interactions.items)
    with nullcontext() if arguments.split == "holdout" else status("Splitting"):
        split = _split(arguments, interactions, reading, filters)
    if arguments.features is not None:
        features, described = features_of(arguments, split.train.items)
    with status(f"Writing {arguments.out}"):
        settings = {**reading, **filters}
        save_prepared(split, arguments.out, titles, settings, features)
    held_out = {
        f"{part}_users": 0
        if getattr(split, part) is None
        else getattr(split, part).num_users
        for part in ("validation", "test")
    }
    counts, items = interactions.counts, split.train.num_items
    report: Json = {
        "out": str(arguments.out),
        "train_users": split.train.num_users,
        **held_out,
        "items": items,
        "train_entries": split.train.num_entries,
        "counts": counts,
    }
    lines = [
        f"{interactions.num_users:,} users and {interactions.num_entries:,} entries "
        f"kept of {counts['events']:,} events.",
        *losses(counts),
        f"{split.train.num_users:,} users train ({items:,} items, "
        f"{split.train.num_entries:,} entries), {held_out['validation_users']:,} "
        f"validate, {held_out['test_users']:,} test.",
    ]
    for part, dropped in split.settings.get("dropped", {}).items():
        report[f"{part}_clicks_on_unknown_items"] = dropped
        lines.append(f"{dropped:,} clicks of {part} on items unknown to training.")
    if titles is not None:
        known = (interactions.items.lookup(list(titles)) >= 0).sum()
        here = (split.train.items.lookup(list(titles)) >= 0).sum()
        report["titles"] = {"items": int(here), "unknown": len(titles) - int(known)}
        lines.append(
            f"{here:,} of {items:,} items have a title; {len(titles) - known:,} titles "
            "are of items that are not kept."
        )
    if features is not None:
        report["features"] = {"items": described, "columns": _columns_of(features)}
        lines.append(f"{described:,} of {items:,} items have features: {features}.")
    print_result(
        report, "\n".join([*lines, f"Written to {arguments.out}"]), arguments.json
    )


def _columns_of(features: ItemFeatures) -> Json:
    """The kind and the width of each feature by name."""
    return {
        each.name: {"kind": each.kind, "width": each.matrix.shape[1]}
        for each in features
    }


def losses(counts: dict[str, int]) -> list[str]:
    """A line on the events lost to each filter; [] if there are none."""
    lost = [
        text.format(f"{counts[name]:,}")
        for name, text in LOSSES.items()
        if counts.get(name)
    ]
    return [f"Left out: {', '.join(lost)}."] if lost else []


def _split(
    arguments: argparse.Namespace,
    interactions: Interactions,
    reading: dict[str, Any],
    filters: dict[str, Any],
) -> Split:
    if arguments.split == "time":
        return temporal_split(
            interactions, arguments.validation_from, arguments.test_from
        )
    if arguments.split == "last-out":
        return leave_last_out(interactions)
    if arguments.split == "holdout":
        return _given_split(arguments, interactions, reading, filters)
    tenth = max(interactions.num_users // 10, 1)
    seed = {} if arguments.seed is None else {"seed": arguments.seed}
    return strong_generalization(
        interactions,
        tenth if arguments.validation_users is None else arguments.validation_users,
        tenth if arguments.test_users is None else arguments.test_users,
        **seed,
    )


def _given_split(
    arguments: argparse.Namespace,
    train: Interactions,
    reading: dict[str, Any],
    filters: dict[str, Any],
) -> Split:
    """The split of separate files; only the training file is filtered."""
    kept = {
        name: value
        for name, value in filters.items()
        if name not in ("min_user_items", "min_item_users", "k_core")
    }

    def read(path: str | None) -> Interactions | None:
        if path is None:
            return None
        return read_interactions(
            path,
            users=train.users,
            items=train.items,
            progress=True,
            **reading,
            **kept,
        )

    test = read(arguments.test_file)
    assert test is not None  # the parser requires it
    return Split.from_holdout(train, test, read(arguments.validation_file))
