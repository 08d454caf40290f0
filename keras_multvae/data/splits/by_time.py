"""Splits by time: at two dates, or before each user's last events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from keras_multvae.data.columns.row_blocks import Part
from keras_multvae.data.interactions import Interactions
from keras_multvae.data.splits.base import FoldIn, Split, with_own_items
from keras_multvae.data.splits.moments import Moment, is_from, moment, plain


def temporal_split(
    interactions: Interactions, validation_from: object, test_from: object
) -> Split:
    """Splits at two dates that are the same for all users.

    Events before `validation_from` are for training. In the validation, these are the
    input and events from then until `test_from` the targets; in the test, all events
    before `test_from` are the input and the rest the targets. Items not seen in
    training are dropped, and so are held-out users left with no input or no target.

    Args:
        interactions: With `timestamps`.
        validation_from: When validation begins: a date ("2024-06-01"), a datetime or
            ISO text (without a zone, in UTC), seconds or milliseconds since 1970, a
            duration before the last event ("30d" are the last thirty days; h, d or w),
            or the share of the events that are before, as 0.8.
        test_from: When the test begins, likewise; later than `validation_from`.

    Returns:
        The split; the same user may be in several parts.

    Raises:
        ValueError: No timestamps, dates in the wrong order, or a part without users.
    """
    time = _timestamps(interactions)
    starts = (
        moment(validation_from, time, "validation_from"),
        moment(test_from, time, "test_from"),
    )
    if starts[0] >= starts[1]:
        raise ValueError(
            "`validation_from` must be before `test_from`. Received: "
            f"{validation_from} and {test_from}."
        )
    parts = _split_by_period(interactions, _periods(interactions, starts))
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
        validation_from=plain(starts[0]),
        test_from=plain(starts[1]),
    )


def leave_last_out(interactions: Interactions) -> Split:
    """Holds out each user's last event for the test, the one before for validation.

    Events of the same instant count in file order. Users with fewer than three events
    are only for training. The test's input includes the validation target. Items not
    seen in training are dropped, and so are held-out users left with no target.

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
    _timestamps(interactions)
    parts = _split_by_period(interactions, map(_from_end, interactions.parts()))
    if parts[1] is None and parts[2] is None:
        raise ValueError(
            "No user has three events whose last ones are of items known to training; "
            f"received {interactions}."
        )
    return _split(parts, interactions, method="leave_last_out")


_Parts = tuple[Interactions | None, FoldIn | None, FoldIn | None]


def _split(parts: _Parts, source: Interactions, **settings: object) -> Split:
    train, validation, test = parts
    assert train is not None
    settings["source_counts"] = source.counts
    return Split(train, validation, test, settings)


def _periods(
    interactions: Interactions, starts: tuple[Moment, Moment]
) -> Iterator[np.ndarray]:
    """For each entry 0 (training), 1 (validation) or 2 (test)."""
    for part in interactions.parts():
        seconds = part.arrays["timestamps"]
        fractions = part.arrays.get("fractions")
        validates, tests = (is_from(seconds, fractions, start) for start in starts)
        yield validates.astype("uint8") + tests


def _from_end(part: Part) -> np.ndarray:
    """For each entry 0 (training), 1 (validation) or 2 (test)."""
    sizes = np.diff(part.indptr)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    times = [part.arrays[n] for n in ("fractions", "timestamps") if n in part.arrays]
    order = np.lexsort((part.file_order, *times, rows))
    from_end = np.empty(len(rows), "int64")
    # `order` keeps users together, so a user's events end where its row ends.
    from_end[order] = part.indptr[1:][rows[order]] - 1 - np.arange(len(rows))
    return np.where((sizes >= 3)[rows], np.maximum(2 - from_end, 0), 0)


def _split_by_period(
    interactions: Interactions, periods: Iterable[np.ndarray]
) -> _Parts:
    """The split by 0, 1 or 2 for each entry; the test's input has all before it."""
    period = np.concatenate([part.astype("uint8") for part in periods])
    seen = interactions.select_entries(period == 0)
    if seen.num_entries == 0:
        return None, None, None
    seen = with_own_items(seen.select_users(_non_empty(seen)))

    def fold_in(number: int) -> FoldIn | None:
        inputs = interactions.select_entries(period < number).with_items(seen.items)
        targets = interactions.select_entries(period == number).with_items(seen.items)
        users = np.intersect1d(_non_empty(inputs), _non_empty(targets))
        if len(users) == 0:
            return None
        return FoldIn(inputs.select_users(users), targets.select_users(users))

    return seen, fold_in(1), fold_in(2)


def _non_empty(interactions: Interactions) -> np.ndarray:
    """The indices of users with entries."""
    return np.flatnonzero(np.diff(interactions.matrix.indptr))


def _timestamps(interactions: Interactions) -> np.ndarray:
    if interactions.timestamps is None:
        raise ValueError(
            "This split needs timestamps; these interactions have none. Name the "
            "timestamp column when reading them."
        )
    return interactions.timestamps
