"""From events to filtered, merged and numbered entries of a matrix; private."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_multvae import checks
from keras_multvae.data.columns import csr
from keras_multvae.data.columns.spilled import Columns, pieces
from keras_multvae.data.ingest.events import EventBuffer
from keras_multvae.data.ingest.ids import Convert
from keras_multvae.data.ingest.partitioning import by_user
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
    counts: dict[str, int]
    timestamps: np.ndarray | None = None
    fractions: np.ndarray | None = None


def build_entries(
    chunks: Iterable[dict[str, Any]],
    *,
    min_rating: float | None = None,
    min_user_items: int = 1,
    min_item_users: int = 1,
    k_core: int | None = None,
    duplicates: str = "collapse",
    drop_missing: bool = False,
    time_unit: str = "auto",
    convert: Mapping[str, Convert] | None = None,
    where: Callable[[int], str] | None = None,
) -> Entries:
    """Filters and merges events.

    Args:
        chunks: The events, in file order; see `events`.
        min_rating: As in `Interactions.from_events`, like the next six.
        min_user_items: See there.
        min_item_users: See there.
        k_core: See there.
        duplicates: See there.
        drop_missing: See there.
        time_unit: See there.
        convert: What makes the raw ids of the ids that the chunks carry, by role
            (`users`, `items`).
        where: Says where a row of the source is, for messages.

    Returns:
        The entries.
    """
    _check_filters(min_user_items, min_item_users, k_core, duplicates)
    kept = EventBuffer(min_rating, drop_missing, time_unit, where)
    for chunk in chunks:
        kept.add(chunk)
    counts = kept.counts
    if counts["events"] == 0:
        raise ValueError("There are no events: the columns are empty.")
    convert = convert or {"users": as_ids, "items": as_ids}
    users = kept.users.sorted(convert["users"])
    items = kept.items.sorted(convert["items"])
    num_users, num_items = len(users.ids), len(items.ids)
    merged = _merge(
        by_user(kept.columns.finished(), users, items),
        (num_users, num_items),
        duplicates,
    )
    counts["events_lost_as_duplicates"] = merged.num_events - merged.ends[-1]

    left = _left(merged, num_users, counts, min_user_items, min_item_users, k_core)
    user_items, appearances, enough_users, enough_items = left

    # Users sorted by id; items by their first appearance in what is left of the file.
    kept_users, kept_items = np.flatnonzero(enough_users), appearances.ordered()
    indptr = csr.row_ends(user_items[kept_users])
    if indptr[-1] == 0:
        raise ValueError(_nothing_left(counts, num_users, num_items))
    counts.update(users=len(kept_users), items=len(kept_items), entries=int(indptr[-1]))
    return Entries(
        users.ids[kept_users],
        items.ids[kept_items],
        indptr,
        **_number(merged, enough_users, enough_items, kept_items),
        counts=counts,
    )


def _left(
    merged: _Merged,
    num_users: int,
    counts: dict[str, int],
    min_user_items: int,
    min_item_users: int,
    k_core: int | None,
) -> tuple[np.ndarray, csr.FirstAppearances, np.ndarray, np.ndarray]:
    """Who is left by the filters, what that are, and what was lost, in `counts`.

    Returns:
        (users,) the items left to each, where the items left first appear, (users,)
        and (items,) bool, which are left.
    """
    if k_core is not None:
        enough_users, enough_items = _core(merged, num_users, counts, k_core)
        left = _count_left(merged, enough_users, enough_items, 1)
        return *left, enough_users, enough_items
    # Items first, then users, once each. All entries of a user are in one part.
    enough_items = merged.item_users >= min_item_users
    _count_losses(counts, "item", "min_item_users", merged.item_users, enough_items)
    everybody = np.ones(num_users, bool)
    user_items, appearances = _count_left(
        merged, everybody, enough_items, min_user_items
    )
    enough_users = user_items >= min_user_items
    _count_losses(counts, "user", "min_user_items", user_items, enough_users)
    return user_items, appearances, enough_users, enough_items


def _core(
    merged: _Merged, num_users: int, counts: dict[str, int], least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of the core in which each has `least` of the others.

    Whoever has fewer goes, again and again, until nobody does; the order in which they
    go makes no difference.
    """
    users, items = np.ones(num_users, bool), np.ones(len(merged.item_users), bool)
    columns = {name: merged.columns[name] for name in ("users", "items")}
    there: tuple[int, int, int] | None = None
    while True:
        user_items = np.zeros(num_users, "int64")
        item_users = np.zeros(len(items), "int64")
        for part in pieces(columns, merged.ends):
            part = _rows(part, users[part["users"]] & items[part["items"]])
            user_items += np.bincount(part["users"], minlength=num_users)
            item_users += np.bincount(part["items"], minlength=len(items))
        now = (
            int((user_items > 0).sum()),
            int((item_users > 0).sum()),
            int(user_items.sum()),
        )
        there = there or now
        few_users, few_items = user_items < least, item_users < least
        if not (few_users & users).any() and not (few_items & items).any():
            break
        users, items = users & ~few_users, items & ~few_items
    for what, before, after in zip(
        ("users", "items", "entries"), there, now, strict=True
    ):
        counts[f"{what}_lost_to_k_core"] = before - after
    return users, items


@dataclass(frozen=True)
class _Merged:
    """One entry a (user, item) pair, in the order of both.

    Args:
        columns: Of the entries.
        ends: Where the runs of users begin, and the end of the last.
        item_users: (items,) how many users each item has.
        num_events: How many events were merged.
    """

    columns: dict[str, np.ndarray]
    ends: list[int]
    item_users: np.ndarray
    num_events: int


def _merge(
    parts: Iterable[dict[str, np.ndarray]], shape: tuple[int, int], duplicates: str
) -> _Merged:
    """The first pass, over events by runs of users."""
    columns, ends = Columns(), [0]
    item_users = np.zeros(shape[1], "int64")
    num_events = 0
    for part in parts:
        num_events += len(part["users"])
        part = _merged(part, shape, duplicates)
        item_users += np.bincount(part["items"], minlength=shape[1])
        columns.append(part)
        ends.append(ends[-1] + len(part["users"]))
    return _Merged(columns.finished(), ends, item_users, num_events)


def _count_left(
    merged: _Merged,
    users: np.ndarray,
    enough_items: np.ndarray,
    min_user_items: int,
) -> tuple[np.ndarray, csr.FirstAppearances]:
    """The second pass: the items left to each of `users`, and where those first appear.

    Only users with `min_user_items` of them count for the appearances.
    """
    num_users = len(users)
    user_items = np.zeros(num_users, "int64")
    appearances = csr.FirstAppearances(len(enough_items))
    needed = {name: merged.columns[name] for name in ("users", "items", "positions")}
    for part in pieces(needed, merged.ends):
        part = _rows(part, enough_items[part["items"]] & users[part["users"]])
        user_items += np.bincount(part["users"], minlength=num_users)
        part = _rows(part, user_items[part["users"]] >= min_user_items)
        appearances.add(part["items"], part["positions"])
    return user_items, appearances


def _number(
    merged: _Merged,
    enough_users: np.ndarray,
    enough_items: np.ndarray,
    kept_items: np.ndarray,
) -> dict[str, np.ndarray]:
    """The third pass: the columns of the entries that are left."""
    number = np.full(len(enough_items), -1, "int32")
    number[kept_items] = np.arange(len(kept_items))
    columns = Columns()
    for part in pieces(merged.columns, merged.ends):
        keep = enough_items[part["items"]] & enough_users[part["users"]]
        if keep.any():
            columns.append(_numbered(_rows(part, keep), number))
    return columns.finished()


def _merged(
    events: dict[str, np.ndarray], shape: tuple[int, int], duplicates: str
) -> dict[str, np.ndarray]:
    """Events as entries, sorted by user and item."""
    users, items = events.pop("users"), events.pop("items")
    # The order is stable, so the first of a run is the first in the file. `event` says
    # which of the events an entry stands for.
    event = csr.order_by(users, items, shape)
    users, items = users[event], items[event]
    first = np.flatnonzero(_changes(users) | _changes(items))
    values = _amounts(events.pop("values", None), event, first, duplicates)
    if len(first) < len(event):
        users, items, event = users[first], items[first], event[first]
    entries = {name: array[event] for name, array in events.items()}
    if values is not None:
        entries["values"] = values
    return entries | {"users": users, "items": items}


def _numbered(
    entries: dict[str, np.ndarray], number: np.ndarray
) -> dict[str, np.ndarray]:
    """Entries of whole users with items by number, sorted within each user."""
    users, indices = entries.pop("users"), number[entries.pop("items")]
    ends = np.append(np.flatnonzero(_changes(users)), len(users))
    order = csr.order_within_rows(ends, indices)
    values = entries.pop("values", None)
    return {name: array[order] for name, array in entries.items()} | {
        "indices": indices[order],
        "values": np.ones(len(order), "float32")
        if values is None
        else values[order].astype("float32"),
    }


def _rows(columns: dict[str, np.ndarray], keep: np.ndarray) -> dict[str, np.ndarray]:
    if keep.all():
        return columns
    return {name: array[keep] for name, array in columns.items()}


def _changes(codes: np.ndarray) -> np.ndarray:
    """Where a run of equal codes begins."""
    begins = np.ones(len(codes), bool)
    np.not_equal(codes[1:], codes[:-1], out=begins[1:])
    return begins


def _count_losses(
    counts: dict[str, int],
    name: str,
    limit: str,
    frequency: np.ndarray,
    enough: np.ndarray,
) -> None:
    counts[f"{name}s_lost_to_{limit}"] = int(((frequency > 0) & ~enough).sum())
    counts[f"entries_lost_to_{limit}"] = int(frequency[~enough].sum())


def _amounts(
    values: np.ndarray | None, event: np.ndarray, first: np.ndarray, duplicates: str
) -> np.ndarray | None:
    """The value of each entry, float64, or None where all are 1."""
    if duplicates == "collapse":
        return None if values is None else values[event[first]]
    if values is None:
        return np.diff(first, append=len(event)).astype("float64")
    return np.add.reduceat(values[event], first) if len(first) else values


def _check_filters(
    min_user_items: int, min_item_users: int, k_core: int | None, duplicates: str
) -> None:
    checks.choice("duplicates", duplicates, ("collapse", "count"))
    checks.integer("min_user_items", min_user_items)
    checks.integer("min_item_users", min_item_users)
    if k_core is None:
        return
    checks.integer("k_core", k_core)
    if (min_user_items, min_item_users) != (1, 1):
        raise ValueError(
            f"`k_core`={k_core} is a least number for users and items alike: leave "
            "out `min_user_items` and `min_item_users`. Received besides: "
            f"{min_user_items} and {min_item_users}."
        )


def _nothing_left(counts: dict[str, int], num_users: int, num_items: int) -> str:
    if "users_lost_to_k_core" in counts:
        lost = (
            f"{counts['users_lost_to_k_core']} users, "
            f"{counts['items_lost_to_k_core']} items "
            f"({counts['entries_lost_to_k_core']} entries) to k_core"
        )
    else:
        lost = (
            f"{counts['items_lost_to_min_item_users']} items "
            f"({counts['entries_lost_to_min_item_users']} entries) to min_item_users, "
            f"{counts['users_lost_to_min_user_items']} users "
            f"({counts['entries_lost_to_min_user_items']} entries) to min_user_items"
        )
    return (
        f"Nothing is left after filtering. Read: {counts['events']} events of "
        f"{num_users} users and {num_items} items. Lost: "
        f"{counts.get('events_lost_to_missing', 0)} events to missing values, "
        f"{counts['events_lost_to_min_rating']} events to min_rating, "
        f"{counts['events_lost_to_zero_value']} events of value 0, "
        f"{counts['events_lost_as_duplicates']} duplicate events, {lost}. "
        "Lower the thresholds."
    )
