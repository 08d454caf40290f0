"""Limits of requests: their size, the rows that run at a time, and waiting bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from keras_multvae.server.status import StatusError, too_large

MAX_ROWS = 10_000  # of a request
# These grow with the catalogue, so that all items can be requested.
MAX_LENGTH = 100_000  # ids of a row
MAX_VALUES = 1_000_000  # in a body
# In a body. They take longer than values, and Python parses without a pause. A row has
# an object and a list for each input at most, so 10,000 rows have fewer.
MAX_LISTS = 150_000
MAX_ANSWER = 2_500_000  # values in an answer
PIECE_ROWS = 64  # More rows at a time would gain little.
PIECE_BYTES = 256 * 2**20
# The graph holds up to eight float32 arrays (rows, items) at a time.
ITEM_BYTES = 32
# Bytes of an id or number, in an array and as a Python object for JSON; and of an id of
# a history in the graph.
VALUE_BYTES = 128
WAITING_BYTES = 512 * 2**20
# The first bytes of a request are free, as the number of connections limits them. So
# large requests never shut small ones out.
FREE_BYTES = 256 * 2**10

Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...] | None


@dataclass(frozen=True)
class Limits:
    """The limits of a model's requests.

    Args:
        num_items: Int, the size of the catalogue.

    Example:

    >>> limits = Limits(num_items=1_000_000)
    >>> limits.rows_at_once({"item_ids": np.zeros((1000, 20))}, [(-1, 100)])
    8
    """

    num_items: int

    def values(self, inputs: Arrays, outputs: Iterable[Shape]) -> int:
        """The number of values in the answer to one row."""
        found = 0
        for shape in outputs:
            if shape is None:
                found += self.num_items
                continue
            free = self._free(inputs)
            found += prod(size if size >= 0 else free for size in shape[1:])
        return found

    def rows_at_once(self, inputs: Arrays, outputs: Iterable[Shape]) -> int:
        """The number of rows of a request to run at a time, at least 1."""
        row = ITEM_BYTES * self.num_items
        row += VALUE_BYTES * (_length(inputs) + self.values(inputs, outputs))
        return max(1, min(PIECE_ROWS, PIECE_BYTES // max(row, 1)))

    def cost(self, inputs: Arrays, outputs: Iterable[Shape]) -> int:
        """The bytes that a request takes while it waits and runs.

        Raises:
            StatusError: It asks for too much (status 413).
        """
        rows = max((len(array) for array in inputs.values() if array.ndim), default=0)
        longest, most = _length(inputs), max(MAX_LENGTH, self.num_items)
        if longest > most:
            raise too_large(f"A row holds {longest} ids; {most} are the most.")
        answer = rows * self.values(inputs, outputs)
        most = max(MAX_ANSWER, 3 * self.num_items)
        if answer > most:
            raise too_large(
                f"The answer would hold {answer} values; {most} are the most. Ask for "
                "a smaller k."
            )
        return VALUE_BYTES * (answer + sum(array.size for array in inputs.values()))

    def check_body(self, body: bytes) -> None:
        """Refuses a body with too many values, lists or objects (status 413).

        It counts before parsing, as parsing JSON blocks all other work.
        """
        self.check_values(body.count(b",") + 1)
        lists = _lists(body)
        if lists > MAX_LISTS:
            lists = _lists(_without_strings(body))
        if lists > MAX_LISTS:
            raise too_large(
                f"The body holds {lists} lists and objects; {MAX_LISTS} are the most."
            )

    def check_values(self, count: int) -> None:
        """Refuses a body of so many values, if they are too many (status 413)."""
        most = max(MAX_VALUES, 2 * self.num_items)
        if count > most:
            raise too_large(f"The body holds {count} values; {most} are the most.")

    def _free(self, inputs: Arrays) -> int:
        """The size of an output's free dimension for this request."""
        k = inputs.get("k")
        if k is not None and k.size and k.dtype.kind in "iu":
            return min(max(int(k.max()), 1), self.num_items)
        return _length(inputs)


def check_rows(rows: int) -> None:
    """Refuses a request of too many rows (status 413)."""
    if rows > MAX_ROWS:
        raise too_large(f"The request has {rows} rows; {MAX_ROWS} are the most.")


def _length(inputs: Arrays) -> int:
    """The number of ids of the longest row; for an example, at most its bytes."""
    found = 0
    for array in inputs.values():
        if array.ndim > 1:
            found = max(found, prod(array.shape[1:]))
        elif array.dtype == object:
            # Ids are short; a long value is an example with many ids.
            longest = max(map(len, array.reshape(-1).tolist()), default=0)
            found = max(found, longest if longest > PIECE_ROWS else 1)
    return found


def _lists(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _without_strings(body: bytes) -> bytes:
    """JSON without the contents of its strings."""
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(unescaped.split(b'"')[::2])


class Budget:
    """A budget of bytes for waiting requests.

    Args:
        total: Int, bytes of all requests together, beyond the free ones of each.

    Example:

    >>> budget = Budget(total=1000, free=100)
    >>> with budget.hold() as hold:
    ...     hold.add(600)
    ...     print(budget.used)
    500
    >>> budget.used
    0
    """

    def __init__(self, total: int = WAITING_BYTES, free: int = FREE_BYTES) -> None:
        self.total = total
        self.free = free
        self.used = 0

    @contextlib.contextmanager
    def hold(self) -> Iterator[Hold]:
        """A context for the bytes of one request, released at its end."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            self.used -= hold.counted


class Hold:
    """The bytes that one request holds of a `Budget`."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0
        self.counted = 0

    def add(self, size: int) -> None:
        """Takes more bytes; `StatusError` (status 429) if the budget is spent."""
        budget = self._budget
        counted = max(self._size + size - budget.free, 0)
        others = budget.used - self.counted
        # A single request is let through, as it has limits of its own.
        if others and others + counted > budget.total and counted > self.counted:
            raise StatusError(
                "RESOURCE_EXHAUSTED",
                "Too many large requests are waiting. Send this one again later.",
            )
        self._size += size
        budget.used += counted - self.counted
        self.counted = counted
