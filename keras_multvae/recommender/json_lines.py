"""Histories in files of JSON lines: lists are histories, objects are events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_multvae.data import Interactions, Vocabulary
from keras_multvae.recommender.histories import OnUnknown, matrix_of

SUFFIXES = (".jsonl", ".ndjson")
USER, ITEM = "user_id", "item_id"


class Batch(NamedTuple):
    """Some histories of a file.

    Args:
        names: The numbers of their lines, or the ids of their users.
        rows: Lists of raw item ids.
        events: Whether they were made of events.
    """

    names: list[Any]
    rows: list[list[Any]]
    events: bool


def batches(lines: Iterable[str], size: int) -> Iterator[Batch]:
    """The histories of a file in batches.

    Lists come as they are read. Events are objects with `user_id` and `item_id`; those
    of a user make one history, wherever they stand, so all are read first. Lines
    without anything are skipped.

    Raises:
        ValueError: A line that is neither, by its number, or both kinds in one file.

    Example:

    >>> next(batches(['["a", "b"]', "[]"], 10)).rows
    [['a', 'b'], []]
    >>> events = ['{"user_id": 7, "item_id": "a"}', '{"user_id": 7, "item_id": "b"}']
    >>> next(batches(events, 10))[:2]
    ([7], [['a', 'b']])
    """
    names: list[Any] = []
    rows: list[list[Any]] = []
    users: dict[Any, list[Any]] = {}
    kind: type | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = _parsed(number, line)
        if kind not in (None, type(found)):
            raise _refused(number, line, "be of the kind of the lines before it")
        kind = type(found)
        if isinstance(found, dict):
            user, item = (_id(number, line, found.get(key)) for key in (USER, ITEM))
            users.setdefault(user, []).append(item)
            continue
        names.append(number)
        rows.append([_id(number, line, item) for item in found])
        if len(rows) == size:
            yield Batch(names, rows, events=False)
            names, rows = [], []
    if rows:
        yield Batch(names, rows, events=False)
    ids = list(users)
    for start in range(0, len(ids), size):
        some = ids[start : start + size]
        yield Batch(some, [users[user] for user in some], events=True)


def interactions(path: Path, items: Vocabulary, on_unknown: OnUnknown) -> Interactions:
    """All histories of a file; of lists, the users are the numbers of their lines."""
    names: list[Any] = []
    rows: list[list[Any]] = []
    with path.open(encoding="utf-8") as file:
        for batch in batches(file, 1 << 16):
            names += batch.names
            rows += batch.rows
    if not names:
        raise ValueError(f"{path} holds no history.")
    matrix = matrix_of(rows, items, on_unknown)
    return Interactions.from_matrix(matrix, users=np.array(names, object), items=items)


def _parsed(number: int, line: str) -> list[Any] | dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"Line {number} is no JSON ({error}).") from None
    if isinstance(found, dict) and not {USER, ITEM} <= set(found):
        raise _refused(number, line, f"have {USER!r} and {ITEM!r}, as an event has")
    if not isinstance(found, list | dict):
        raise _refused(
            number, line, "be a JSON list of item ids, or an object that is an event"
        )
    return found


def _id(number: int, line: str, value: Any) -> Any:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise _refused(number, json.dumps(value), "hold item ids, strings or whole numbers")


def _refused(number: int, shown: str, wanted: str) -> ValueError:
    return ValueError(f"Line {number} must {wanted}. Received: {shown.strip()[:60]}")
