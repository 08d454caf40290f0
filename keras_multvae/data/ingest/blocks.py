"""Records in a block of delimited text, found by where line breaks and quotes are."""

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
        """Whether no quote is in it, so that every line is a record."""
        return self.quote is None or self.quote not in self.data

    @cached_property
    def _bytes(self) -> np.ndarray:
        return np.frombuffer(self.data, "uint8")

    @cached_property
    def quotes(self) -> np.ndarray:
        """Where quotes are, opening and closing ones by turns."""
        return np.flatnonzero(self._bytes == ord(self.quote or b"\0"))

    @cached_property
    def _inside(self) -> np.ndarray:
        """(bytes,) bool, which are between quotes, opening ones included."""
        return np.logical_xor.accumulate(self._bytes == ord(self.quote or b"\0"))

    def _is_outside(self, byte: bytes) -> np.ndarray:
        found = self._bytes == ord(byte)
        if not self.plain:
            # True only where the first is and the second is not.
            np.greater(found, self._inside, out=found)
        return found

    def outside(self, byte: bytes) -> np.ndarray:
        """Where a byte is that no quotes are around."""
        return np.flatnonzero(self._is_outside(byte))

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Where records that are not blank lines start, and their line breaks."""
        ends = self.outside(b"\n")
        starts = np.append(0, ends[:-1] + 1)
        sizes = ends - starts
        carriage = self._bytes[starts] == ord("\r")
        full = (sizes > 0) & ~((sizes == 1) & carriage)
        return starts[full], ends[full]

    @cached_property
    def has_blank_lines(self) -> bool:
        """Whether there may be blank lines, also some inside of quotes."""
        data = self.data
        return data.startswith((b"\n", b"\r\n")) or any(
            blank in data for blank in (b"\n\n", b"\n\r\n")
        )

    @cached_property
    def records(self) -> int:
        """How many records there are, blank lines left out."""
        if self.plain and not self.has_blank_lines:
            return self.data.count(b"\n")
        if not self.has_blank_lines:
            return int(np.count_nonzero(self._is_outside(b"\n")))
        return len(self.bounds[0])

    @cached_property
    def compact(self) -> bytes:
        """The bytes without blank lines, which polars would take for records."""
        if not self.has_blank_lines:
            return self.data
        steps = np.zeros(len(self.data) + 1, "int8")
        starts, ends = self.bounds
        steps[starts] += 1
        np.subtract.at(steps, ends + 1, 1)
        return self._bytes[np.cumsum(steps[:-1], dtype="int8") > 0].tobytes()

    def separators(self) -> int:
        """How many part fields, in all records together."""
        if self.plain:
            return self.data.count(self.separator)
        return int(np.count_nonzero(self._is_outside(self.separator)))

    def line_at(self, offset: int) -> int:
        """The number of the line that a byte is in."""
        return self.first_line + self.data.count(b"\n", 0, offset)

    def line_of(self, record: int) -> int:
        """The number of the line that a record begins in."""
        return self.line_at(int(self.bounds[0][record]))

    def first_stray_quote(self) -> int | None:
        """Where a quote is that neither opens nor closes a whole field."""
        if self.plain:
            return None
        quotes, data = self.quotes, self._bytes
        opening, closing = quotes[::2], quotes[1::2]
        # Two quotes side by side in a quoted field stand for one.
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
        """The first record that has not so many fields, and how many it has."""
        ends = self.bounds[1]
        of_record = np.searchsorted(ends, self.outside(self.separator))
        counts = np.bincount(of_record, minlength=len(ends)) + 1
        uneven = np.flatnonzero(counts[: len(ends)] != fields)
        return (int(uneven[0]), int(counts[uneven[0]])) if len(uneven) else None
