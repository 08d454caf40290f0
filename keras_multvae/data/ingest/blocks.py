"""Finding the records in a block of delimited text by line breaks and quotes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_NEWLINE = ord("\n")


@dataclass(frozen=True)
class Block:
    """Whole records of a file, as UTF-8.

    Args:
        data: The bytes; the last is a line break.
        first_line: Number of the first line, from 1.
        separator: One byte.
        quote: One byte, or None.
    """

    data: bytes
    first_line: int
    separator: bytes
    quote: bytes | None

    @cached_property
    def plain(self) -> bool:
        """Whether the block has no quotes, so that every line is a record."""
        return self.quote is None or self.quote not in self.data

    @cached_property
    def _bytes(self) -> np.ndarray:
        return np.frombuffer(self.data, "uint8")

    @cached_property
    def quotes(self) -> np.ndarray:
        """Positions of quotes, alternately opening and closing."""
        return np.flatnonzero(self._bytes == ord(self.quote or b"\0"))

    @cached_property
    def _inside(self) -> np.ndarray:
        """(bytes,) bool, whether each is inside quotes or an opening quote."""
        return np.logical_xor.accumulate(self._bytes == ord(self.quote or b"\0"))

    def _is_outside(self, byte: bytes) -> np.ndarray:
        found = self._bytes == ord(byte)
        if not self.plain:
            # True only where the first is and the second is not.
            np.greater(found, self._inside, out=found)
        return found

    def outside(self, byte: bytes) -> np.ndarray:
        """Positions of this byte outside quotes."""
        return np.flatnonzero(self._is_outside(byte))

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Starts and line breaks of records that are not blank lines."""
        ends = self.outside(b"\n")
        starts = np.append(0, ends[:-1] + 1)
        sizes = ends - starts
        carriage = self._bytes[starts] == ord("\r")
        full = (sizes > 0) & ~((sizes == 1) & carriage)
        return starts[full], ends[full]

    @cached_property
    def has_blank_lines(self) -> bool:
        """Whether there may be blank lines, perhaps only inside quotes."""
        data = self.data
        return data.startswith((b"\n", b"\r\n")) or any(
            blank in data for blank in (b"\n\n", b"\n\r\n")
        )

    @cached_property
    def records(self) -> int:
        """The number of records, without blank lines."""
        if self.plain and not self.has_blank_lines:
            return self.data.count(b"\n")
        if not self.has_blank_lines:
            return int(np.count_nonzero(self._is_outside(b"\n")))
        return len(self.bounds[0])

    @cached_property
    def compact(self) -> bytes:
        """The bytes without blank lines, which polars would read as records."""
        if not self.has_blank_lines:
            return self.data
        steps = np.zeros(len(self.data) + 1, "int8")
        starts, ends = self.bounds
        steps[starts] += 1
        np.subtract.at(steps, ends + 1, 1)
        return self._bytes[np.cumsum(steps[:-1], dtype="int8") > 0].tobytes()

    def separators(self) -> int:
        """The number of separators outside quotes."""
        if self.plain:
            return self.data.count(self.separator)
        return int(np.count_nonzero(self._is_outside(self.separator)))

    def line_at(self, offset: int) -> int:
        """The line number of a byte."""
        return self.first_line + self.data.count(b"\n", 0, offset)

    def line_of(self, record: int) -> int:
        """The number of the line where a record begins."""
        return self.line_at(int(self.bounds[0][record]))

    def first_stray_quote(self) -> int | None:
        """The position of the first quote inside a field, or None."""
        if self.plain:
            return None
        quotes, data = self.quotes, self._bytes
        opening, closing = quotes[::2], quotes[1::2]
        # Two adjacent quotes in a quoted field stand for one.
        doubled = np.zeros(len(opening) + 1, bool)
        doubled[1 : len(closing)] = opening[1 : len(closing)] == closing[:-1] + 1
        if len(opening) > len(closing) > 0:
            doubled[len(closing)] = opening[-1] == closing[-1] + 1
        before, after = data[opening - 1], data[np.minimum(closing + 1, len(data) - 1)]
        separator = ord(self.separator)
        opens = (before == separator) | (before == _NEWLINE) | (opening == 0)
        closes = (after == separator) | (after == _NEWLINE) | (after == ord("\r"))
        opens |= doubled[: len(opening)]
        closes |= doubled[1 : len(closing) + 1]
        bad = np.append(opening[~opens], closing[~closes])
        if len(quotes) % 2:
            bad = np.append(bad, quotes[-1])
        return int(bad.min()) if len(bad) else None

    def first_uneven(self, fields: int) -> tuple[int, int] | None:
        """The first record with another number of fields, and that number."""
        ends = self.bounds[1]
        of_record = np.searchsorted(ends, self.outside(self.separator))
        counts = np.bincount(of_record, minlength=len(ends)) + 1
        uneven = np.flatnonzero(counts[: len(ends)] != fields)
        return (int(uneven[0]), int(counts[uneven[0]])) if len(uneven) else None
