"""Splits by time: at two dates, or each user's last events."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_multvae.data.interactions import Interactions
from keras_multvae.data.splits import FoldIn, Split, with_own_items


def temporal_split(
    interactions: Interactions, validation_from: int, test_from: int
) -> Split:
    """Splits at two dates that are the same for all users.

    Training sees what happened before `validation_from`. Validation shows the model the
    same period of each user and asks for what the user did from then until
    `test_from`; the test shows everything before `test_from` and asks for the rest.
    Items not seen in training are dropped, and so are held-out users left with no input
    or no target.

    Args:
        interactions: With `timestamps`.
        validation_from: Int, seconds since 1970; the first second of validation.
        test_from: Int, seconds since 1970, later; the first second of the test.

    Returns:
        The split; the same user may be in several parts.

    Raises:
        ValueError: No timestamps, dates in the wrong order, or a part without users.
    """
    time = _timestamps(interactions)
    if validation_from >= test_from:
        raise ValueError(
            "`validation_from` must be before `test_from`. Received: "
            f"{validation_from} and {test_from}."
        )
    parts = _split_by_masks(
        interactions,
        train=time < validation_from,
        validation=(time >= validation_from) & (time < test_from),
        test=time >= test_from,
    )
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        if part is None:
            raise ValueError(
                f"The dates leave no user in the {name} part: validation_from="
                f"{validation_from}, test_from={test_from}, while the events run from "
                f"{time.min()} to {time.max()}."
            )
    return _split(
        parts,
        interactions,
        method="temporal_split",
        validation_from=int(validation_from),
        test_from=int(test_from),
    )


def leave_last_out(interactions: Interactions) -> Split:
    """Holds out each user's last event for the test and the one before for validation.

    Events of the same second count in file order. Users with fewer than three events
    train whole. The test's input includes the validation target. Items not seen in
    training are dropped, and so are held-out users left with no target.

    Args:
        interactions: With `timestamps`.

    Returns:
        The split; the same user may be in all three parts.

    Raises:
        ValueError: No timestamps, or no user with three events and known items.

    Example:

    >>> clicks = Interactions.from_events(
    ...     [1, 1, 1, 2, 2, 2], list("abcbca"), timestamps=[1, 2, 3, 1, 3, 2]
    ... )
    >>> split = leave_last_out(clicks)
    >>> split.train.items.ids.tolist(), split.test
    (['a', 'b'], None)
    """
    time = _timestamps(interactions)
    rows = interactions.rows
    order = np.lexsort((interactions.file_order, time, rows))
    ends = interactions.matrix.indptr[1:].astype("int64")
    from_end = np.empty(len(rows), "int64")
    # `order` keeps users together, so a user's events end where its row does.
    from_end[order] = ends[rows[order]] - 1 - np.arange(len(rows))
    long = (np.diff(interactions.matrix.indptr) >= 3)[rows]
    parts = _split_by_masks(
        interactions,
        train=~long | (from_end >= 2),
        validation=long & (from_end == 1),
        test=long & (from_end == 0),
    )
    if parts[1] is None and parts[2] is None:
        raise ValueError(
            "No user has three events whose last ones are of items known to training; "
            f"received {interactions}."
        )
    return _split(parts, interactions, method="leave_last_out")


_Parts = tuple[Interactions | None, FoldIn | None, FoldIn | None]


def _split(parts: _Parts, source: Interactions, **settings: Any) -> Split:
    train, validation, test = parts
    assert train is not None
    settings["source_counts"] = source.counts
    return Split(train, validation, test, settings)


def _split_by_masks(
    interactions: Interactions,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
) -> _Parts:
    """Parts from masks of entries; the test's input is all that is not its target."""
    if not train.any():
        return None, None, None
    seen = interactions.select_entries(train)
    seen = with_own_items(seen.select_users(_non_empty(seen)))

    def fold_in(input_mask: np.ndarray, target_mask: np.ndarray) -> FoldIn | None:
        inputs = interactions.select_entries(input_mask).with_items(seen.items)
        targets = interactions.select_entries(target_mask).with_items(seen.items)
        users = np.intersect1d(_non_empty(inputs), _non_empty(targets))
        if len(users) == 0:
            return None
        return FoldIn(inputs.select_users(users), targets.select_users(users))

    return seen, fold_in(train, validation), fold_in(train | validation, test)


def _non_empty(interactions: Interactions) -> np.ndarray:
    return np.flatnonzero(np.diff(interactions.matrix.indptr))


def _timestamps(interactions: Interactions) -> np.ndarray:
    if interactions.timestamps is None:
        raise ValueError(
            "This split needs timestamps; these interactions have none. Name the "
            "timestamp column when reading them."
        )
    return interactions.timestamps
