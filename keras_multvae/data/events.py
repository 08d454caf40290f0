"""From one event a row to filtered, merged and numbered entries; private."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_multvae.data.vocabulary import as_ids


@dataclass(frozen=True)
class Entries:
    """Entries sorted by (user, item), with the ids behind the indices."""

    user_ids: np.ndarray
    item_ids: np.ndarray
    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    positions: np.ndarray
    timestamps: np.ndarray | None
    counts: dict[str, int]


def gather(
    users: Any,
    items: Any,
    *,
    ratings: Any,
    values: Any,
    timestamps: Any,
    min_rating: float | None,
    min_user_items: int,
    min_item_users: int,
    duplicates: str,
) -> Entries:
    """Filters and merges events; the arguments are those of `from_events`."""
    _check_filters(min_rating, ratings, min_user_items, min_item_users, duplicates)
    users, user_ids = _encode(users, "user")
    items, item_ids = _encode(items, "item")
    size = len(users)
    if len(items) != size:
        raise ValueError(f"Columns differ in length: {size} users, {len(items)} items.")
    if size == 0:
        raise ValueError("There are no events: the columns are empty.")
    counts = {"events": size}

    position = np.arange(size)
    if ratings is not None:
        ratings = _numbers(ratings, "ratings", size)
        if min_rating is not None:
            position = position[ratings >= min_rating]
    counts["events_lost_to_min_rating"] = size - len(position)
    if values is not None:
        values = _numbers(values, "values", size)
        check_values(values)
        position = position[values[position] > 0]
    counts["events_lost_to_zero_value"] = (
        size - counts["events_lost_to_min_rating"] - len(position)
    )
    if timestamps is not None:
        timestamps = _seconds(timestamps, size)

    # One entry a (user, item) pair: the sort is stable, so the first of a run is the
    # first in the file.
    pair = users[position] * len(item_ids) + items[position]
    order = np.argsort(pair, kind="stable")
    pair, position = pair[order], position[order]
    first = np.flatnonzero(np.append(True, pair[1:] != pair[:-1])[: len(pair)])
    amounts = (
        np.ones(len(position)) if values is None else values[position].astype("float64")
    )
    if duplicates == "count" and len(first):
        amounts = np.add.reduceat(amounts, first)
    else:
        amounts = amounts[first]
    counts["events_lost_as_duplicates"] = len(position) - len(first)
    position = position[first]

    # Items first, then users, once each.
    keep = np.arange(len(position))
    for name, codes, minimum in (
        ("item", items, min_item_users),
        ("user", users, min_user_items),
    ):
        of_entry = codes[position[keep]]
        frequency = np.bincount(of_entry)
        enough = frequency >= minimum
        limit = "min_item_users" if name == "item" else "min_user_items"
        counts[f"{name}s_lost_to_{limit}"] = int(((frequency > 0) & ~enough).sum())
        kept = keep[enough[of_entry]]
        counts[f"entries_lost_to_{limit}"] = len(keep) - len(kept)
        keep = kept
    if len(keep) == 0:
        raise ValueError(_nothing_left(counts, len(user_ids), len(item_ids)))
    position, amounts = position[keep], amounts[keep]

    # Users sorted by id; items by their first appearance in what is left of the file.
    kept_users, row = np.unique(users[position], return_inverse=True)
    column, kept_items = number_by_first_appearance(items[position], position)
    order = np.argsort(row * len(kept_items) + column, kind="stable")
    position = position[order]
    counts.update(users=len(kept_users), items=len(kept_items), entries=len(position))
    return Entries(
        user_ids[kept_users],
        item_ids[kept_items],
        row[order],
        column[order],
        amounts[order].astype("float32"),
        position,
        None if timestamps is None else timestamps[position],
        counts,
    )


def number_by_first_appearance(
    codes: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers codes 0, 1, ... by the smallest position of each.

    Returns:
        The (n,) new numbers, and the old code of each new number.
    """
    unset = np.iinfo("int64").max
    first = np.full(int(codes.max(initial=-1)) + 1, unset)
    np.minimum.at(first, codes, position)
    present = np.flatnonzero(first < unset)
    old = present[np.argsort(first[present], kind="stable")]
    number = np.empty(len(first), "int64")
    number[old] = np.arange(len(old))
    return number[codes], old


def check_values(values: np.ndarray) -> None:
    """Raises ValueError at the first value that is negative, infinite or NaN."""
    good = np.isfinite(values) & (values >= 0)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            "Values must be finite and >= 0 (they are how much an event counts). "
            f"Received {values[row]} at row {row}."
        )


def _encode(ids: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """The index of each id among the sorted unique ids, and those."""
    try:
        array = as_ids(ids)
    except (TypeError, ValueError) as error:
        raise type(error)(f"Bad {what} ids. {error}") from None
    if array.dtype.kind == "i":
        unique, codes = np.unique(array, return_inverse=True)
        return codes, unique
    # A dict is many times faster here than NumPy's sort of Python strings.
    names = sorted(set(array))
    code = {name: index for index, name in enumerate(names)}
    codes = np.fromiter(map(code.__getitem__, array), "int64", len(array))
    return codes, as_ids(names)


def _numbers(values: Any, name: str, size: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (size,):
        raise ValueError(
            f"`{name}` must have one number an event, ({size},). Received: shape "
            f"{array.shape}."
        )
    if array.dtype.kind not in "iuf":
        # Objects may be numbers all the same (None among them becomes NaN).
        parsed = [_number(value) for value in array.tolist()]
        array = np.array(parsed, "float64")
    bad = np.isnan(array)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"`{name}` must be numbers. Received {np.asarray(values)[row]!r} at row "
            f"{row} ({int(bad.sum())} such rows): drop or mend them."
        )
    return array


def _number(value: Any) -> float:
    try:
        # Text is not parsed: a rating column of strings is a mistake upstream.
        return float("nan") if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError):
        return float("nan")


def _seconds(values: Any, size: int) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind == "M":
        missing = np.isnat(array)
        array = array.astype("datetime64[s]").astype("int64").astype("float64")
        array[missing] = np.nan
    array = _numbers(array, "timestamps", size)
    if not np.isfinite(array).all():
        raise ValueError("`timestamps` must be finite seconds since 1970.")
    return array.astype("int64")


def _check_filters(
    min_rating: float | None,
    ratings: Any,
    min_user_items: int,
    min_item_users: int,
    duplicates: str,
) -> None:
    if duplicates not in ("collapse", "count"):
        raise ValueError(
            f'`duplicates` must be "collapse" or "count". Received: {duplicates!r}.'
        )
    if min_rating is not None and ratings is None:
        raise ValueError(
            f"`min_rating`={min_rating} needs ratings: name the rating column, or "
            "leave `min_rating` out."
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
