"""Reading JSON lines of objects (events, items) or lists; private."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_multvae.data.ingest.dialect import Dialect
from keras_multvae.data.ingest.events import CHUNK
from keras_multvae.data.ingest.text import TextError, lines_of, opened
from keras_multvae.extras import import_extra
from keras_multvae.typing import Column, Frame, Json, JsonValue


class JsonLines:
    """A file with a JSON value in each line.

    It is read by Python, as polars would convert ints beside text to text.

    Attributes:
        blank_lines: The number of blank lines skipped in the last reading.
        bytes_read: The uncompressed bytes read in it so far.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self.path, self._dialect = path, dialect
        self.blank_lines = self.bytes_read = 0

    @property
    def names(self) -> list[str]:
        """The keys of the first object."""
        return next((list(each) for _, each in self._objects()), [])

    def frames(self, columns: list[str]) -> Iterator[Frame]:
        """Yields frames of the columns, with null for keys that an object lacks.

        Raises:
            ValueError: A line is no object.
        """
        self.blank_lines = 0
        rows: list[Json] = []
        for _, each in self._objects():
            rows.append(each)
            if len(rows) == CHUNK:
                yield _frame(rows, columns)
                rows = []
        if rows:
            yield _frame(rows, columns)

    def line_of(self, record: int) -> int:
        """The line number of an object; reads the file again."""
        for number, (line, _) in enumerate(self._objects()):
            if number == record:
                return line
        raise IndexError(record)

    def hint(self) -> str:
        """A hint at a missing option; always ""."""
        return ""

    def values(self) -> Iterator[tuple[int, Json | list[JsonValue]]]:
        """Yields line numbers and values, without blank lines.

        Raises:
            ValueError: A line that cannot be read, or is neither an object nor a list.
        """
        encoding = self._dialect.encoding or "utf-8-sig"
        self.bytes_read = 0
        with opened(self.path) as file:
            for line, raw in enumerate(lines_of(file), start=1):
                self.bytes_read += len(raw) + 1
                try:
                    text = raw.decode(encoding).strip()
                except UnicodeDecodeError as error:
                    raise TextError(
                        f"{self.path}: line {line} is not {encoding} ({error.reason}). "
                        "Name its encoding: encoding='latin-1', --encoding latin-1."
                    ) from None
                if not text:
                    self.blank_lines += 1
                    continue
                yield line, _value(self.path, line, text)

    def _objects(self) -> Iterator[tuple[int, Json]]:
        # The spellings of missing values in CSV files are ordinary text here.
        nulls = frozenset(self._dialect.null or ()) | {""}
        for line, found in self.values():
            if not isinstance(found, dict):
                raise TextError(
                    f"{self.path} cannot be read: line {line} must be a JSON object, "
                    "an event with its columns as keys. Received: "
                    f"{json.dumps(found)[:60]}. (Lists are histories, which "
                    "`recommend` takes from a file that holds nothing else.)"
                )
            yield (
                line,
                {
                    name: None if isinstance(value, str) and value in nulls else value
                    for name, value in found.items()
                },
            )


def _value(path: Path, line: int, text: str) -> Json | list[JsonValue]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise TextError(
            f"{path} cannot be read: line {line} is no JSON ({error})."
        ) from None
    if not isinstance(found, dict | list):
        raise TextError(
            f"{path} cannot be read: line {line} must be a JSON object, an event with "
            f"its columns as keys, or a list. Received: {text[:60]}."
        )
    return found


def _frame(rows: list[Json], columns: list[str]) -> Frame:
    polars = import_extra("polars", "data")
    return polars.DataFrame(
        {name: _series(polars, [row.get(name) for row in rows]) for name in columns}
    )


def _series(polars: ModuleType, values: list[Any]) -> Column:
    """A column of one type, or of objects, so that no value is converted."""
    types = set(map(type, values)) - {type(None)}
    if types == {str}:
        return polars.Series(values, dtype=polars.String)
    if types == {int} and all(v is None or -(2**63) <= v < 2**63 for v in values):
        return polars.Series(values, dtype=polars.Int64)
    return polars.Series(values, dtype=polars.Object)
