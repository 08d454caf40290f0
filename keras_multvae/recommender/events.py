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
from keras_multvae.data.ingest.json_lines import JsonLines
from keras_multvae.recommender.histories import OnUnknown, matrix_of
from keras_multvae.tables import check_columns
from keras_multvae.typing import Clicks, Id, Json, JsonValue


def holds_events(path: Path) -> bool:
    """Whether a path is a file or a folder of files, and no folder of our formats."""
    return path.is_file() or (path.is_dir() and not (path / "manifest.json").exists())


def of_events(
    source: Clicks, items: Vocabulary, on_unknown: OnUnknown = "raise", **reading: Any
) -> Interactions:
    r"""Histories from files of events, or from a file of JSON lists.

    A user without a known item is kept, with an empty history.

    Args:
        source: A source of `read_interactions`, or a file of JSON lines that are lists
            of item ids; their users are the line numbers.
        items: The items of the histories. Text ids are converted to its kind.
        on_unknown: "raise" an error for other items, or "skip" them.
        **reading: Further arguments of `read_interactions`, for events.

    Returns:
        The histories. Their `counts` have the number of unknown items, of entries of
        these, and of users who have nothing else.

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
        # Check the first line before reading all, as others most likely have the same
        # keys.
        columns = {"user_column": "user_id", "item_column": "item_id"} | reading
        wanted = [columns["user_column"], columns["item_column"]]
        check_columns(wanted, list(first), f"The first object of {path}")
    events = read_interactions(source, items=items, **reading)
    # Converts text to the kind of the model's ids; may raise UnknownIdError.
    known = items.index(items.from_text(events.items.ids), on_unknown)
    found = events.with_items(items)
    return _counted(
        found,
        unknown_items=events.num_items - len(known),
        entries_of_unknown_items=events.num_entries - found.num_entries,
        others=events.counts,
    )


def first_of(path: Path, encoding: str | None = None) -> Json | list[JsonValue]:
    """The value of the first line of a file of JSON lines; {} for other files.

    Raises:
        ValueError: The file is empty, or its first line is no JSON.
    """
    if not (path.is_file() and path.name.lower().endswith(JSON)):
        return {}
    for _, first in JsonLines(path, Dialect(encoding=encoding)).values():
        return first
    raise ValueError(f"{path} holds no history and no event.")


def _of_lists(
    path: Path, items: Vocabulary, on_unknown: OnUnknown, encoding: str | None
) -> Interactions:
    """Histories from JSON lines that are lists of item ids."""
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
    # All at once, so that an error lists all unknown ids.
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
    """Adds the numbers of unknown items to `counts`; `empty` histories had no items."""
    nothing = int((np.diff(found.matrix.indptr) == 0).sum()) - empty
    counts = {
        "unknown_items": unknown_items,
        "entries_of_unknown_items": entries_of_unknown_items,
        "users_of_unknown_items": nothing,
    }
    return replace(found, counts=others | counts)
