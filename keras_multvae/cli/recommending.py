"""The commands `recommend` and `similar`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_multvae import Recommender, Reranking, recommend_on_ray
from keras_multvae.cli.commands import part_of
from keras_multvae.cli.data_options import (
    COLUMNS,
    DIALECT,
    EVENT_FILTERS,
    events_options_given,
    given,
)
from keras_multvae.cli.output import log, print_result, status
from keras_multvae.cli.preparing import losses
from keras_multvae.cli.recommend_options import reranking_of
from keras_multvae.data import FoldIn, Interactions, Vocabulary
from keras_multvae.data.ingest.text import lines_of, opened
from keras_multvae.progress import counting
from keras_multvae.recommender.events import first_of, holds_events, of_events
from keras_multvae.recommender.storage import ITEMS
from keras_multvae.typing import Id

BATCH = 500
# Names of the counts of unknown ids in files of histories; see `of_events`.
UNKNOWN = ("unknown_items", "entries_of_unknown_items", "users_of_unknown_items")


def recommend(arguments: argparse.Namespace) -> None:
    """Histories -> recommendations as text, JSON or a Parquet file."""
    if arguments.engine == "ray":
        _recommend_on_ray(arguments)
        return
    recommender = Recommender.load(arguments.model)
    histories, user_ids, kind = _histories(recommender, arguments)
    recommender = Recommender(
        recommender.model,
        recommender.items,
        histories=histories,
        titles=recommender.titles,
        features=recommender.features,
    )
    options = _options(arguments, recommender.items)
    if arguments.out is None:
        _print(recommender, user_ids, kind, options, arguments)
        return
    rows = recommender.recommend_to_parquet(
        arguments.out,
        user_ids if arguments.user else "all",
        progress=True,
        **options,
    )
    unknown = {name: histories.counts[name] for name in _unknown(histories)}
    print_result(
        {"out": arguments.out, "users": len(user_ids), "rows": rows, **unknown},
        "\n".join(
            [
                f"{rows:,} recommendations for {len(user_ids):,} users.",
                *_left_out(histories),
                f"Written to {arguments.out}",
            ]
        ),
        arguments.json,
    )


def similar(arguments: argparse.Namespace) -> None:
    """Item ids -> the items most similar to each."""
    recommender = Recommender.load(arguments.model)
    items = recommender.items
    ids = items.from_text(arguments.items)
    for item in ids:
        if item not in items:
            raise ValueError(
                f"The model has no item {item!r}; its ids are as {items.ids[0]!r}."
            )
    found = recommender.similar_items(ids, arguments.k)
    for index, item in enumerate(ids):
        print_result(
            {
                "item_id": item,
                "title": recommender.titles.get(item),
                **found.to_dict(index),
            },
            f"{found.name(item)}:\n{found.describe(index)}",
            arguments.json,
        )


def _histories(
    recommender: Recommender, arguments: argparse.Namespace
) -> tuple[Interactions, Sequence[Id] | np.ndarray, str]:
    """Histories, the users to recommend for, and the name of these."""
    if arguments.user or arguments.all:
        stored = recommender.histories
        if stored is None:
            raise ValueError(
                f"{arguments.model} keeps no histories, so it knows no users. Give it "
                "their events, or the folder that prepare wrote; or train it without "
                "--no-histories."
            )
        if arguments.all:
            return stored, stored.users.ids, "user"
        return stored, _users(stored.users, arguments), "user"
    if arguments.histories in (None, "-"):
        with _standard_input() as path:
            return _read(path, recommender.items, arguments)
    source = Path(arguments.histories)
    if source.is_dir() and not holds_events(source):
        _check_no_events_options(arguments)
        part = part_of(recommender, source, arguments.part or "train", arguments.model)
        histories = part.input if isinstance(part, FoldIn) else part
        return histories, histories.users.ids, "user"
    return _read(source, recommender.items, arguments)


def _users(users: Vocabulary, arguments: argparse.Namespace) -> list[Id]:
    """The users of --user, as ids of the vocabulary."""
    ids = users.from_text(arguments.user)
    unknown = [each for each in ids if each not in users]
    if unknown:
        raise ValueError(
            f"{arguments.model} keeps no history of {unknown[0]!r}"
            + (f" and {len(unknown) - 1} more" if unknown[1:] else "")
            + f"; its user ids are as {users.ids[0]!r}. For somebody new, give the "
            "items that he has: recommend MODEL FILE."
        )
    return ids


def _read(
    path: Path, items: Vocabulary, arguments: argparse.Namespace
) -> tuple[Interactions, Sequence[Id] | np.ndarray, str]:
    """Reads histories from files of events or of JSON lists."""
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file or folder {path}. Give files of events, JSON lines that "
            "are histories, or the folder that prepare wrote."
        )
    if arguments.part is not None:
        raise ValueError(
            f"--part goes with the folder that prepare wrote. Received: {path}."
        )
    lists = isinstance(first_of(path, arguments.encoding), list)
    if lists:
        _check_no_events_options(arguments, but="--encoding")
    with status(f"Reading {path}"):
        found = of_events(path, items, arguments.on_unknown, **_reading(arguments))
    if arguments.out is None:
        for line in _left_out(found):
            log(line)
    return found, found.users.ids, "history" if lists else "user"


def _reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """The given options for reading events, by argument of `read_interactions`."""
    return given(arguments, (*COLUMNS, *DIALECT, *EVENT_FILTERS))


def _check_no_events_options(arguments: argparse.Namespace, but: str = "") -> None:
    others = [name for name in events_options_given(arguments) if name != but]
    if others:
        raise ValueError(
            f"{others[0]} goes with files of events. Received: {arguments.histories}."
        )


@contextmanager
def _standard_input() -> Iterator[Path]:
    """A temporary file with standard input, as events are read more than once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "standard_input.jsonl")
        with path.open("wb") as file:
            if hasattr(sys.stdin, "buffer"):
                shutil.copyfileobj(sys.stdin.buffer, file)
            else:
                file.write(sys.stdin.read().encode())
        try:
            yield path
        except (ValueError, TypeError) as error:
            words = str(error).replace(str(path), "standard input")
            raise ValueError(words) from None


def _unknown(histories: Interactions) -> list[str]:
    """Names of the counts of unknown ids that are not 0."""
    return [name for name in UNKNOWN if histories.counts.get(name)]


def _left_out(histories: Interactions) -> list[str]:
    """Messages on events that were not read, and on unknown ids."""
    counts = histories.counts
    items, entries, users = (counts.get(name, 0) for name in UNKNOWN)
    lines = losses(counts)
    if items:
        lines.append(f"Left out: {items:,} unknown items, in {entries:,} entries.")
    if users:
        lines.append(
            "Users left without any item, who get what somebody of whom nothing is "
            f"known gets: {users:,}."
        )
    return lines


def _options(arguments: argparse.Namespace, items: Vocabulary | None) -> dict[str, Any]:
    """Keyword arguments of `Recommender.recommend` for the given options.

    `items` is the vocabulary for --allow and --deny.
    """
    options: dict[str, Any] = {"k": arguments.k, "on_unknown": arguments.on_unknown}
    for name in ("allow", "deny"):
        if items is not None and getattr(arguments, name) is not None:
            options[name] = _listed(name, items, arguments)
    if arguments.niche:
        options["niche"] = arguments.niche
    if arguments.reasons:
        options["reasons"] = arguments.reasons
    rerank = reranking_of(arguments)
    if rerank:
        options["rerank"] = Reranking(**rerank)
    return options


def _listed(name: str, items: Vocabulary, arguments: argparse.Namespace) -> list[Id]:
    """The item ids of --allow or --deny, given directly or in files."""
    found: list[Id] = []
    for each in getattr(arguments, name):
        (item,) = items.from_text([each])
        is_file, known = Path(each).is_file(), item in items
        if is_file and known:
            raise ValueError(
                f"--{name} {each} is an item and a file: write ./{each} for the file."
            )
        if not (is_file or known):
            raise ValueError(
                f"--{name} {each} is neither a file nor an item of the model, whose "
                f"ids are as {items.ids[0]!r}."
            )
        found += items.from_text(_ids_in(Path(each))) if is_file else [item]
    unknown = sum(item not in items for item in found)
    if unknown and arguments.on_unknown == "skip":
        log(f"{unknown:,} of {len(found):,} ids of --{name} are unknown.")
    return found


def _ids_in(path: Path) -> list[str]:
    """The ids of a file with an id in each line."""
    ids = []
    with opened(path) as file:
        for number, line in enumerate(lines_of(file), start=1):
            try:
                text = line.decode("utf-8-sig").rstrip("\r")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: line {number} is not UTF-8 ({error.reason}). It must be "
                    "text with an item id a line."
                ) from None
            if text:
                ids.append(text)
    return ids


def _print(
    recommender: Recommender,
    user_ids: Sequence[Id] | np.ndarray,
    kind: str,
    options: dict[str, Any],
    arguments: argparse.Namespace,
) -> None:
    """Prints a line of JSON, or lines of text, for each user."""
    # On a terminal, a bar would disturb the results.
    shown = len(user_ids) > BATCH and not sys.stdout.isatty()
    with counting("recommending", len(user_ids), shown=shown) as advance:
        for start in range(0, len(user_ids), BATCH):
            batch = user_ids[start : start + BATCH]
            found = recommender.recommend(user_ids=batch, **options)
            for index, name in enumerate(found.users):
                who = {"user_id": name} if kind == "user" else {}
                print_result(
                    {**who, **found.to_dict(index)},
                    f"{kind} {name}:\n{found.describe(index)}",
                    arguments.json,
                )
            advance(len(batch))


def _recommend_on_ray(arguments: argparse.Namespace) -> None:
    """Histories -> folder of Parquet files, on a Ray cluster."""
    source = None if arguments.all else Path(arguments.histories or "-")
    if source is not None and not source.exists():
        raise ValueError(
            "--engine ray recommends for many users: give files of events, the folder "
            f"that prepare wrote, or --all. Received: {source}."
        )
    if source is not None and not holds_events(source):
        _check_no_events_options(arguments)
    listed = arguments.allow or arguments.deny
    items = Vocabulary.load(Path(arguments.model) / ITEMS) if listed else None
    rows = recommend_on_ray(
        arguments.model,
        arguments.out,
        source,
        part=arguments.part or "train",
        reading=_reading(arguments),
        address=arguments.address,
        num_workers=arguments.workers,
        progress=True,
        **_options(arguments, items),
    )
    print_result(
        {"out": arguments.out, "rows": rows},
        f"{rows:,} recommendations.\nWritten to {arguments.out}/parts",
        arguments.json,
    )
