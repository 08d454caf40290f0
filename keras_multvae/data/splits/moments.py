"""Parsing when the parts of a split begin; private."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from keras_multvae.data.columns.mapped import slices
from keras_multvae.data.ingest.times import EXPECTED, instant
from keras_multvae.typing import Column

_BEFORE_THE_END = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([hdw])")
_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}

Moment = tuple[int, int]


def moment(value: Column, timestamps: np.ndarray, name: str) -> Moment:
    """A date, a duration before the end, or a share of the events, as an instant.

    Args:
        value: Any time that `Clock` accepts; text such as "30d", the last thirty days;
            or a number between 0 and 1, the share of the events before it.
        timestamps: Seconds since 1970 of all events.
        name: The name of the argument, for messages.

    Returns:
        Seconds since 1970, and nanoseconds after these.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(value, str):
        duration = _BEFORE_THE_END.fullmatch(value.strip())
        if duration:
            length = float(duration[1]) * _SECONDS[duration[2]]
            # The duration includes the last second, so it ends one second later.
            return int(timestamps.max()) + 1 - round(length), 0
        value = _number(value)
    if isinstance(value, float | np.floating) and 0 < value < 1:
        return _at_share(timestamps, float(value)), 0
    try:
        if value is None or isinstance(value, bool) or np.ndim(value):
            raise ValueError(f"Received: {value!r}.")
        return instant(value, name)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be {EXPECTED}, a duration before the last event as '30d' "
            f"(h, d or w), or a share of the events as 0.9. {error}"
        ) from None


def is_from(
    seconds: np.ndarray, fractions: np.ndarray | None, start: Moment
) -> np.ndarray:
    """(events,) bool, whether each is at the instant `start` or later."""
    if start[1] == 0:
        return seconds >= start[0]
    later = seconds > start[0]
    if fractions is not None:
        later |= (seconds == start[0]) & (fractions >= start[1])
    return later


def plain(value: Moment) -> int | float:
    """An instant as seconds since 1970, for manifests and messages."""
    return value[0] if value[1] == 0 else value[0] + value[1] / 1e9


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _at_share(timestamps: np.ndarray, share: float) -> int:
    """The second of the event at this share of all events in the order of time.

    Found by bisection, as timestamps may not fit in memory.
    """
    before = int(share * len(timestamps) + 1e-9)
    low, high = int(timestamps.min()), int(timestamps.max())
    while low < high:
        middle = (low + high) // 2
        if sum(int((part <= middle).sum()) for part in slices(timestamps)) > before:
            high = middle
        else:
            low = middle + 1
    return low
