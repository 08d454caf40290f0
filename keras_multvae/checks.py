"""Checks of arguments, with one style of message for all.

NumPy scalars count as numbers, and checks return Python numbers, so that configurations
and files hold nothing else. A bool is no number. This module imports neither Keras nor
NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real


def integer(name: str, value: object, at_least: int = 1) -> int:
    """An argument as an int.

    Args:
        name: What the argument is called.
        value: What was given for it.
        at_least: The smallest number allowed.

    Raises:
        ValueError: It is no integer, or too small.

    Example:

    >>> integer("k", 20)
    20
    >>> integer("k", 0)
    Traceback (most recent call last):
    ValueError: `k` must be an integer >= 1. Received: k=0.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if number >= at_least:
            return number
    raise refused(name, f"an integer >= {at_least}", value)


def number(
    name: str, value: object, *, at_least: float = 0.0, above: float | None = None
) -> float:
    """An argument as a finite float.

    Args:
        name: What the argument is called.
        value: What was given for it.
        at_least: The smallest number allowed.
        above: Optional, a limit that is itself not allowed, in place of `at_least`.

    Raises:
        ValueError: It is no number, not finite, or too small.

    Example:

    >>> number("l2", 500)
    500.0
    >>> number("l2", 0, above=0)
    Traceback (most recent call last):
    ValueError: `l2` must be a finite number > 0. Received: l2=0.
    """
    found = _real(value)
    if above is None:
        good, limit = found >= at_least, f">= {at_least:g}"
    else:
        good, limit = found > above, f"> {above:g}"
    if good and found < math.inf:
        return found
    raise refused(name, f"a finite number {limit}", value)


def share(name: str, value: object, interval: str = "[0, 1]") -> float:
    """An argument between 0 and 1 as a float.

    Args:
        name: What the argument is called.
        value: What was given for it.
        interval: "[0, 1]", "[0, 1)", "(0, 1]" or "(0, 1)"; a round bracket leaves the
            limit out.

    Raises:
        ValueError: It is no number, or outside the interval.

    Example:

    >>> share("dropout", 0.5, "[0, 1)")
    0.5
    >>> share("dropout", 1, "[0, 1)")
    Traceback (most recent call last):
    ValueError: `dropout` must be a number in [0, 1). Received: dropout=1.
    """
    found = _real(value)
    low = found >= 0 if interval.startswith("[") else found > 0
    high = found <= 1 if interval.endswith("]") else found < 1
    if low and high:
        return found
    raise refused(name, f"a number in {interval}", value)


def choice(name: str, value: object, choices: Iterable[str]) -> str:
    """An argument that is one of a few strings.

    Args:
        name: What the argument is called.
        value: What was given for it.
        choices: The strings allowed.

    Raises:
        ValueError: It is none of them.

    Example:

    >>> choice("part", "test", ["train", "test"])
    'test'
    >>> choice("part", "all", ["train", "test"])
    Traceback (most recent call last):
    ValueError: `part` must be one of 'train', 'test'. Received: part='all'.
    """
    choices = list(choices)
    if isinstance(value, str) and value in choices:
        return value
    raise refused(name, f"one of {', '.join(map(repr, choices))}", value)


def _real(value: object) -> float:
    """A number as a float; anything else as NaN, which is within no limits."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # An int beyond the range of floats.
        return math.nan


def refused(name: str, wanted: str, value: object) -> ValueError:
    """The `ValueError` for a bad argument."""
    return ValueError(f"`{name}` must be {wanted}. Received: {name}={value!r}.")


def diverged() -> ValueError:
    """The error for scores that are NaN."""
    return ValueError("The model's scores are NaN: its training has diverged.")
