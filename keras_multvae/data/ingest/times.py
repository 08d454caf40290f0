"""Converting times of every kind to seconds since 1970; private.

It is the only converter: for arrays, frames, files and the dates of splits.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np

from keras_multvae import checks
from keras_multvae.data.columns.plain import as_array, plain
from keras_multvae.extras import import_extra
from keras_multvae.typing import Column

UNITS = ("auto", "s", "ms", "us", "ns")
EXPECTED = (
    "seconds or milliseconds since 1970, dates, datetimes, or ISO text as "
    "2021-03-01T10:00:00+01:00"
)
_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# As seconds such numbers are later than the year 5138, as milliseconds later than 1973,
# and so on.
_FROM = {"ms": 10**11, "us": 10**14, "ns": 10**17}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = (
    r"^\s*(?<date>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?<hour>\d\d):(?<minute>\d\d)"
    r"(?::(?<second>\d\d)(?:[.,](?<part>\d{1,9})\d*)?)?)?"
    r" ?(?<zone>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?\s*$"
)


class Times(NamedTuple):
    """Instants: int64 seconds since 1970, and int32 nanoseconds after these, or None.

    The latter are None if all instants are whole seconds.
    """

    seconds: np.ndarray
    fractions: np.ndarray | None


class Clock:
    """Converts the times of one source, chunk by chunk.

    Numbers are seconds, unless they are so large that they must be of a finer unit.
    Pass the unit for any others.

    Args:
        unit: One of UNITS.
        name: The name of the column, for messages.
    """

    def __init__(self, unit: str = "auto", name: str = "timestamps") -> None:
        self._unit = checks.choice("time_unit", unit, UNITS)
        self._name = name
        self._found: str | None = None

    def times(self, column: Column, at: Callable[[int], str]) -> Times:
        """The instants of a column of any kind.

        Args:
            column: The result of `plain`, or a polars column of text.
            at: Describes the row of an index, such as "row 7".

        Raises:
            ValueError: A value is no time, or the unit of numbers is ambiguous.
        """
        if hasattr(column, "str") and hasattr(column, "null_count"):
            return self._of_text(column, at)
        array = as_array(column)
        if array.dtype.kind == "M":
            return _of_datetime64(array)
        if array.dtype.kind in "UT":
            return self._of_text(_polars_text(array.tolist()), at)
        if array.dtype.kind in "iuf":
            return self._of_numbers(array, at)
        return self._of_objects(array.tolist(), at)

    def _of_objects(self, values: list[Any], at: Callable[[int], str]) -> Times:
        if all(isinstance(v, str) for v in values):
            return self._of_text(_polars_text(values), at)
        if all(_is_number(v) for v in values):
            return self._of_numbers(np.array(values), at)
        nanoseconds = []
        for row, value in enumerate(values):
            found = _nanoseconds(value)
            if found is None:
                raise self._refused(value, at(row))
            nanoseconds.append(found)
        pairs = [divmod(each, 10**9) for each in nanoseconds]
        seconds, fractions = np.array(pairs, "int64").reshape(-1, 2).T
        return _times(seconds, fractions)

    def _of_numbers(self, array: np.ndarray, at: Callable[[int], str]) -> Times:
        """The instants of numbers, in the clock's unit."""
        finite = np.isfinite(array)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(
                f"`{self._name}` must be finite. Received {array[row]} at {at(row)}."
            )
        if array.dtype.kind == "f":
            whole = (array == np.floor(array)).all() and (abs(array) < 2.0**53).all()
            array = array.astype("int64") if whole else array.astype("float64")
        scale = _A_SECOND[self._unit_of(array, at)]
        if array.dtype.kind != "f":
            seconds = array.astype("int64", copy=False)
            if scale == 1:
                return Times(seconds, None)
            seconds, rest = np.divmod(seconds, scale)
            return _times(seconds, rest * (10**9 // scale))
        seconds = np.floor(array / scale)
        rest = np.rint((array - seconds * scale) * (10**9 / scale))
        return _times(*_carried(seconds.astype("int64"), rest.astype("int64")))

    def _unit_of(self, array: np.ndarray, at: Callable[[int], str]) -> str:
        """The unit of a column of numbers, by their size; raises if it is ambiguous."""
        if self._unit != "auto":
            return self._unit
        sizes = abs(array)
        largest = sizes.max(initial=0)
        if largest == 0:
            return self._found or "s"
        unit = next((u for u in ("ns", "us", "ms") if largest >= _FROM[u]), "s")
        row = int(np.argmax(sizes))
        if unit != "s":
            small = (sizes > 0) & (sizes < _FROM[unit])
            if small.any():
                raise self._unclear(array, int(np.argmax(small)), row, at)
        if self._found not in (None, unit):
            raise ValueError(
                f"`{self._name}` seem to be in {self._found} at first, and in {unit} "
                f"at {at(row)} ({array[row]}). Name the unit of all of them "
                "(time_unit=..., --time-unit s|ms|us|ns)."
            )
        self._found = unit
        return unit

    def _unclear(
        self, array: np.ndarray, small: int, large: int, at: Callable[[int], str]
    ) -> ValueError:
        return ValueError(
            f"`{self._name}` must be of one unit. Received {array[large]} at "
            f"{at(large)} and {array[small]} at {at(small)}. Mend them, or name the "
            "unit of all of them (time_unit=..., --time-unit s|ms|us|ns)."
        )

    def _of_text(self, text: Column, at: Callable[[int], str]) -> Times:
        polars = import_extra("polars", "data")
        parts = text.str.extract_groups(_ISO).struct.unnest()
        days = parts["date"].str.to_date("%Y-%m-%d", strict=False)
        clock = {
            name: parts[name].cast(polars.Int64).fill_null(0)
            for name in ("hour", "minute", "second")
        }
        sound = days.is_not_null() & (clock["hour"] < 24)
        sound &= (clock["minute"] < 60) & (clock["second"] < 60)
        zone = parts["zone"].str.extract_groups(r"^([+-])(\d\d):?(\d\d)?$")
        zone = zone.struct.unnest()
        hours, minutes = (
            zone[place].cast(polars.Int64).fill_null(0) for place in ("2", "3")
        )
        sound &= (hours < 24) & (minutes < 60)
        if not sound.all():
            row = int(np.argmin(sound.to_numpy()))
            raise self._refused(text[row], at(row))
        sign = (zone["1"] == "-").fill_null(False).to_numpy() * -2 + 1
        seconds = days.cast(polars.Int64).to_numpy() * 86400
        for name, size in (("hour", 3600), ("minute", 60), ("second", 1)):
            seconds = seconds + clock[name].to_numpy() * size
        seconds -= sign * (hours * 3600 + minutes * 60).to_numpy()
        part = parts["part"]
        if part.null_count() == len(part):
            return Times(seconds, None)
        digits = part.str.pad_end(9, "0").cast(polars.Int64).fill_null(0)
        return _times(seconds, digits.to_numpy())

    def _refused(self, value: object, place: str) -> ValueError:
        return ValueError(
            f"`{self._name}` must be numbers or times: {EXPECTED}. Received "
            f"{value!r} at {place}."
        )


def instant(value: object, name: str) -> tuple[int, int]:
    """One time of any kind, as seconds since 1970 and nanoseconds after these."""
    column = plain([value]) if not isinstance(value, np.ndarray) else value.ravel()
    found = Clock(name=name).times(column, lambda row: f"`{name}`")
    fraction = 0 if found.fractions is None else int(found.fractions[0])
    return int(found.seconds[0]), fraction


def _of_datetime64(array: np.ndarray) -> Times:
    unit, _ = np.datetime_data(array.dtype)
    if unit not in ("ms", "us", "ns", "ps", "fs", "as"):
        return Times(array.astype("datetime64[s]").astype("int64"), None)
    unit = unit if unit in _A_SECOND else "ns"
    scale = _A_SECOND[unit]
    numbers = array.astype(f"datetime64[{unit}]").astype("int64")
    seconds, rest = np.divmod(numbers, scale)
    return _times(seconds, rest * (10**9 // scale))


def _times(seconds: np.ndarray, fractions: np.ndarray) -> Times:
    """`Times`, with fractions of None if all are 0."""
    return Times(seconds, fractions.astype("int32") if fractions.any() else None)


def _carried(seconds: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Carries a full second of nanoseconds over to the seconds."""
    over = rest >= 10**9
    return seconds + over, np.where(over, rest - 10**9, rest)


def _polars_text(values: list[str]) -> Column:
    polars = import_extra("polars", "data")
    return polars.Series("text", values, dtype=polars.String)


def _is_number(value: object) -> bool:
    kinds = int | float | np.integer | np.floating
    return isinstance(value, kinds) and not isinstance(value, bool)


def _nanoseconds(value: object) -> int | None:
    """Nanoseconds since 1970 of a datetime, date or datetime64; otherwise None."""
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[ns]").astype("int64"))
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        since = aware - _EPOCH
        whole = (since.days * 86400 + since.seconds) * 10**9
        # pandas' Timestamps have nanoseconds, and so have their differences.
        rest = getattr(value, "nanosecond", 0)
        return whole + since.microseconds * 1000 + rest
    if isinstance(value, date):
        return (value - _EPOCH.date()).days * 86400 * 10**9
    return None
