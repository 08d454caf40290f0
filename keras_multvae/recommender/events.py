"""Histories of many users, from files of events or of histories."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np

from keras_multvae.data import Interactions, Vocabulary, read_interactions
from keras_multvae.data.ingest.dialect import Dialect
from keras_multvae.data.ingest.files import JSON
from keras_multvae.data.ingest.frames import check_columns
from keras_multvae.data.ingest.json_lines import JsonLines
from keras_multvae.recommender.histories import OnUnknown, matrix_of
from keras_multvae.typing import Clicks, Id, Json, JsonValue


def holds_events(path: Path) -> bool:
    """Whether it is a file, or a folder of files, rather than a folder of ours."""
    return path.is_file() or (path.is_dir() and not (path / "manifest.json").exists())


def of_events(
    source: Clicks, items: Vocabulary, on_unknown: OnUnknown = "raise", **reading: Any
) -> Interactions:
    r"""Histories from files of events, or from a file of JSON lists.

    Of a user without a known item nothing is known, but that there is one.

    Args:
        source: What `read_interactions` reads; or a file of JSON lines that are lists
            of item ids, whose users are the numbers of their lines.
        items: What items the histories are to be of. Text takes the kind of its ids.
        on_unknown: "raise" or "skip" other items.
        **reading: As `read_interactions` takes them, for events.

    Returns:
        The histories. Their `counts` say how many items of the files are unknown, how
        many entries there are of them, and to how many users nothing else is left.

    Raises:
        UnknownIdError: Unknown items, with on_unknown="raise".
        ValueError: What `read_interactions` raises, or a list that is no history.

    Example:

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "histories.jsonl"
    >>> _ = file.write_text('["a", "b"]\n["c"]\n')
    >>> of_events(file, Vocabulary(["a", "b"]), "skip").counts["unknown_items"]
    1
    """
    path = Path(source)
    first = first_of(path, reading.get("encoding"))
    if isinstance(first, list):
        return _of_lists(path, items, on_unknown, reading.get("encoding"))
    if first and not reading.get("drop_missing"):
        # Another has no such keys either, most likely: told before all are read.
        columns = {"user_column": "user_id", "item_column": "item_id"} | reading
        wanted = [columns["user_column"], columns["item_column"]]
        check_columns(wanted, list(first), f"The first object of {path}")
    events = read_interactions(source, items=items, **reading)
    # Text takes the kind of the model's ids. Raises, if it is to.
    known = items.index(items.from_text(events.items.ids), on_unknown)
    found = events.with_items(items)
    return _counted(
        found,
        unknown_items=events.num_items - len(known),
        entries_of_unknown_items=events.num_entries - found.num_entries,
        others=events.counts,
    )


def first_of(path: Path, encoding: str | None = None) -> Json | list[JsonValue]:
    """What the first line of a file of JSON lines holds; {} for all other files.

    Raises:
        ValueError: There is nothing in it, or its first line is no JSON.
    """
    if not (path.is_file() and path.name.lower().endswith(JSON)):
        return {}
    for _, first in JsonLines(path, Dialect(encoding=encoding)).values():
        return first
    raise ValueError(f"{path} holds no history and no event.")


def _of_lists(
    path: Path, items: Vocabulary, on_unknown: OnUnknown, encoding: str | None
) -> Interactions:
    lines: list[int] = []
    rows: list[list[Id]] = []
    for line, value in JsonLines(path, Dialect(encoding=encoding)).values():
        if not isinstance(value, list):
            raise ValueError(
                f"{path}: line {line} must be a list of item ids, as those before it "
                f"are. Received: {json.dumps(value)[:60]}."
            )
        for item in value:
            if not isinstance(item, str | int) or isinstance(item, bool):
                raise ValueError(
                    f"{path}: line {line} must hold item ids, strings or whole "
                    f"numbers. Received: {json.dumps(item)[:60]}."
                )
        lines.append(line)
        rows.append(items.from_text(cast(list[Id], value)))
    # All of them at once, so that an error tells of all that are unknown.
    every = list(dict.fromkeys(chain.from_iterable(rows)))
    known = items.index(every, on_unknown)
    matrix = matrix_of(rows, items, on_unknown)
    found = Interactions.from_matrix(matrix, users=np.array(lines), items=items)
    return _counted(
        found,
        unknown_items=len(every) - len(known),
        entries_of_unknown_items=sum(len(set(row)) for row in rows) - found.num_entries,
        others={},
        empty=sum(not row for row in rows),
    )


def _counted(
    found: Interactions,
    *,
    unknown_items: int,
    entries_of_unknown_items: int,
    others: dict[str, int],
    empty: int = 0,
) -> Interactions:
    """With what is unknown in `counts`; `empty` histories were so from the start."""
    nothing = int((np.diff(found.matrix.indptr) == 0).sum()) - empty
    counts = {
        "unknown_items": unknown_items,
        "entries_of_unknown_items": entries_of_unknown_items,
        "users_of_unknown_items": nothing,
    }
    return replace(found, counts=others | counts)
