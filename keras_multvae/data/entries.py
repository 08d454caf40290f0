"""From events to filtered, merged and numbered entries of a matrix; private."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_multvae.data import csr
from keras_multvae.data.events import Kept
from keras_multvae.data.vocabulary import as_ids


@dataclass(frozen=True)
class Entries:
    """Entries in CSR form, sorted by (user, item), with the ids behind the indices."""

    user_ids: np.ndarray
    item_ids: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    positions: np.ndarray
    timestamps: np.ndarray | None
    counts: dict[str, int]


def gather(
    chunks: Iterable[dict[str, Any]],
    *,
    min_rating: float | None = None,
    min_user_items: int = 1,
    min_item_users: int = 1,
    duplicates: str = "collapse",
    convert: Callable[[np.ndarray], np.ndarray] = as_ids,
) -> Entries:
    """Filters and merges events.

    Args:
        chunks: The events, in file order; see `events`.
        min_rating: As in `Interactions.from_events`, like the next three.
        min_user_items: See there.
        min_item_users: See there.
        duplicates: See there.
        convert: What makes the raw ids of the ids that the chunks carry.

    Returns:
        The entries.
    """
    _check_filters(min_user_items, min_item_users, duplicates)
    kept = Kept(min_rating)
    for chunk in chunks:
        kept.add(chunk)
    counts = kept.counts
    if counts["events"] == 0:
        raise ValueError("There are no events: the columns are empty.")
    users, user_ids = kept.users.merged(convert)
    items, item_ids = kept.items.merged(convert)

    # One entry a (user, item) pair: the order is stable, so the first of a run is the
    # first in the file. `event` says which of the kept events an entry stands for.
    event = csr.order_by(users, items, (len(user_ids), len(item_ids)))
    users, items = users[event], items[event]
    first = np.flatnonzero(_changes(users) | _changes(items))
    values = _amounts(kept.values(), event, first, duplicates)
    counts["events_lost_as_duplicates"] = len(event) - len(first)
    if len(first) < len(event):
        users, items, event = users[first], items[first], event[first]

    # Items first, then users, once each.
    for name, minimum in (("item", min_item_users), ("user", min_user_items)):
        codes = items if name == "item" else users
        frequency = np.bincount(codes)
        enough = frequency >= minimum
        keep = enough[codes]
        limit = f"min_{'item_users' if name == 'item' else 'user_items'}"
        counts[f"{name}s_lost_to_{limit}"] = int(((frequency > 0) & ~enough).sum())
        counts[f"entries_lost_to_{limit}"] = len(keep) - int(keep.sum())
        if not keep.all():
            users, items, event = users[keep], items[keep], event[keep]
            values = None if values is None else values[keep]
    if len(event) == 0:
        raise ValueError(_nothing_left(counts, len(user_ids), len(item_ids)))

    # Users sorted by id; items by their first appearance in what is left of the file.
    frequency = np.bincount(users)
    kept_users = np.flatnonzero(frequency)
    indptr = np.append(0, np.cumsum(frequency[kept_users]))
    positions, timestamps = kept.positions(), kept.timestamps()
    columns, kept_items = csr.number_by_first_appearance(items, positions[event])
    order = csr.order_within_rows(indptr, columns)
    event = event[order]
    counts.update(users=len(kept_users), items=len(kept_items), entries=len(event))
    return Entries(
        user_ids[kept_users],
        item_ids[kept_items],
        indptr,
        columns[order],
        np.ones(len(event), "float32")
        if values is None
        else values[order].astype("float32"),
        positions[event],
        None if timestamps is None else timestamps[event],
        counts,
    )


def _changes(codes: np.ndarray) -> np.ndarray:
    """Where a run of equal codes begins."""
    begins = np.ones(len(codes), bool)
    np.not_equal(codes[1:], codes[:-1], out=begins[1:])
    return begins


def _amounts(
    values: np.ndarray | None, event: np.ndarray, first: np.ndarray, duplicates: str
) -> np.ndarray | None:
    """The value of each entry, float64, or None where all are 1."""
    if duplicates == "collapse":
        return None if values is None else values[event[first]]
    if values is None:
        return np.diff(first, append=len(event)).astype("float64")
    return np.add.reduceat(values[event], first) if len(first) else values


def _check_filters(min_user_items: int, min_item_users: int, duplicates: str) -> None:
    if duplicates not in ("collapse", "count"):
        raise ValueError(
            f'`duplicates` must be "collapse" or "count". Received: {duplicates!r}.'
        )
    for name, minimum in (
        ("min_user_items", min_user_items),
        ("min_item_users", min_item_users),
    ):
        if minimum < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {minimum}.")


def _nothing_left(counts: dict[str, int], num_users: int, num_items: int) -> str:
    return (
        f"Nothing is left after filtering. Read: {counts['events']} events of "
        f"{num_users} users and {num_items} items. Lost: "
        f"{counts['events_lost_to_min_rating']} events to min_rating, "
        f"{counts['events_lost_to_zero_value']} events of value 0, "
        f"{counts['events_lost_as_duplicates']} duplicate events, "
        f"{counts['items_lost_to_min_item_users']} items "
        f"({counts['entries_lost_to_min_item_users']} entries) to min_item_users, "
        f"{counts['users_lost_to_min_user_items']} users "
        f"({counts['entries_lost_to_min_user_items']} entries) to min_user_items. "
        "Lower the thresholds."
    )
