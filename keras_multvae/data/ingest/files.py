"""Reading columns of files of every kind in chunks; private."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from keras_multvae.data.ingest.dialect import Dialect
from keras_multvae.data.ingest.events import CHUNK
from keras_multvae.data.ingest.json_lines import JsonLines
from keras_multvae.data.ingest.text import TextError, TextFile
from keras_multvae.tables import check_columns
from keras_multvae.typing import Column, Frame

PACKED = ("", ".gz", ".zst")
TEXT = tuple(kind + packed for kind in (".csv", ".tsv") for packed in PACKED)
JSON = tuple(kind + packed for kind in (".jsonl", ".ndjson") for packed in PACKED)
SUFFIXES = (*TEXT, *JSON, ".parquet")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass
class Part:
    """One file of a data set.

    Args:
        path: The path of the file.
        reader: Its reader; for Parquet, polars' lazy frame.
        partition: Values of columns that its folders name, as `year=2024`.
        first_row: The number of its first row in the data set.
        rows: The number of rows read so far.
        all_rows: The total number of rows, if it is known without reading them.
    """

    path: Path
    reader: Any
    partition: dict[str, str | None] = field(default_factory=dict)
    first_row: int = 0
    rows: int = 0
    all_rows: int | None = None

    @property
    def bytes_read(self) -> float:
        """The bytes read so far, as a share of the file's size."""
        size = self.path.stat().st_size
        if self.all_rows is not None:
            return size * self.rows / self.all_rows
        # The unpacked size of a compressed file is not known.
        return (
            0 if self.path.suffix in PACKED[1:] else min(self.reader.bytes_read, size)
        )


class FileReader:
    """Reads columns of a file, or of the files of a folder, in chunks.

    Columns of text files stay text: whether ids are ints depends on all rows of all
    files, so it is decided at the end, by the unique ids.

    Attributes:
        is_text: Whether all ids are read as text.
    """

    def __init__(
        self,
        polars: ModuleType,
        path: Path,
        ids: Sequence[str],
        columns: Iterable[str],
        dialect: Dialect,
    ) -> None:
        self._polars = polars
        self._path = path
        self._dialect = dialect
        self._ids = set(ids)
        self._columns = list(dict.fromkeys(columns))
        self._at = 0  # the file that is being read
        files = _part_files(path, dialect)
        kind = _suffix(files[0])
        self.is_text = kind not in JSON and kind != ".parquet"
        if kind == ".parquet":
            self._parts = self._scan_parquet(files)
        else:
            self._parts = [self._open(file) for file in files]

    def frames(self) -> Iterator[Frame]:
        """Yields consecutive DataFrames."""
        rows = 0
        for at, part in enumerate(self._parts):
            self._at = at
            part.first_row, part.rows = rows, 0
            with self._blaming(part.path):
                for frame in _ahead(self._frames_of(part)):
                    rows += frame.height
                    part.rows += frame.height
                    yield from frame.iter_slices(CHUNK)
        self._at = len(self._parts)
        if rows == 0:
            raise ValueError(f"{self._path} holds no rows, only a header.")

    def where(self, row: int) -> str:
        """The file and line of a row that was read."""
        read = [part for part in self._parts if part.rows]
        part = next(part for part in reversed(read) if part.first_row <= row)
        if isinstance(part.reader, TextFile | JsonLines):
            line = part.reader.line_of(row - part.first_row)
            return f"line {line} of {part.path}"
        return f"row {row - part.first_row} of {part.path}"

    @property
    def counts(self) -> dict[str, int]:
        """Counts of skipped rows by name: blank lines."""
        lines = sum(getattr(part.reader, "blank_lines", 0) for part in self._parts)
        return {"blank_lines": lines} if lines else {}

    @property
    def done(self) -> float:
        """The share of the files that has been read, from 0 to 1."""
        sizes = [part.path.stat().st_size for part in self._parts]
        finished = float(sum(sizes[: self._at]))
        if self._at < len(sizes):
            finished += self._parts[self._at].bytes_read
        return finished / max(sum(sizes), 1)

    def _frames_of(self, part: Part) -> Iterator[Frame]:
        polars, named = self._polars, part.partition
        if isinstance(part.reader, TextFile | JsonLines):
            own = [name for name in self._columns if name not in named]
            for frame in part.reader.frames(own):
                if isinstance(part.reader, TextFile):
                    frame = frame.with_columns(
                        numbers_from_text(polars, frame[name], self._dialect.decimal)
                        for name in own
                        if name not in self._ids
                    )
                yield self._with_partition(frame, named)
            return
        for frame in part.reader.collect_batches(chunk_size=CHUNK):
            yield self._with_partition(frame, named)

    def _with_partition(self, frame: Frame, named: dict[str, str | None]) -> Frame:
        if not named:
            return frame
        polars = self._polars
        for name, value in named.items():
            column = polars.Series(name, [value], dtype=polars.String)
            if name not in self._ids:
                column = numbers_from_text(polars, column, self._dialect.decimal)
            frame = frame.with_columns(column.new_from_index(0, frame.height))
        return frame

    def _open(self, file: Path) -> Part:
        named = self._partition(file)
        with self._blaming(file):
            suffix = _suffix(file)
            reader: TextFile | JsonLines
            if suffix in JSON:
                reader = JsonLines(file, self._dialect)
                # Any object may have keys that the first one lacks.
                if not reader.names:
                    raise ValueError(f"{file} is empty.")
                return Part(file, reader, named)
            reader = TextFile(file, suffix, self._dialect)
            wanted = [name for name in self._columns if name not in named]
            twice = [name for name in wanted if reader.names.count(name) > 1]
            if twice:
                raise ValueError(f"{file} has several columns {twice[0]!r}.")
        check_columns(wanted, reader.names, str(file), reader.hint())
        return Part(file, reader, named)

    def _partition(self, file: Path) -> dict[str, str | None]:
        """The columns that the folders of a file name."""
        if self._path.is_file():
            return {}
        pairs = [
            folder.partition("=")
            for folder in file.relative_to(self._path).parts[:-1]
            if "=" in folder
        ]
        return {
            unquote(name): None if value == _NO_VALUE else unquote(value)
            for name, _, value in pairs
            if unquote(name) in self._columns
        }

    def _scan_parquet(self, files: list[Path]) -> list[Part]:
        parts, schemas = [], []
        for file in files:
            named = self._partition(file)
            with self._blaming(file):
                lazy = self._polars.scan_parquet(
                    file, glob=False, hive_partitioning=False
                )
                schema = lazy.collect_schema()
                named = {n: v for n, v in named.items() if n not in schema}
                own = [name for name in self._columns if name not in named]
                check_columns(own, list(schema), str(file))
                # A file without rows has no types.
                rows = lazy.select(self._polars.len()).collect().item()
                if rows:
                    parts.append(Part(file, lazy.select(own), named, all_rows=rows))
                    schemas.append({name: schema[name] for name in own})
        self._check_ids(schemas)
        if len(schemas) < 2:
            return parts
        empty = [self._polars.DataFrame(schema=schema) for schema in schemas]
        try:
            common = self._polars.concat(empty, how="vertical_relaxed").schema
        except self._polars.exceptions.PolarsError as error:
            raise ValueError(
                f"The files in {self._path} do not agree on the types of their "
                f"columns: {error}"
            ) from None
        for part in parts:
            part.reader = part.reader.cast(dict(common))
        return parts

    def _check_ids(self, schemas: list[dict[str, Any]]) -> None:
        """Raises if ids are ints in some files and not in others."""
        uneven = [
            name
            for name in sorted(self._ids)
            if len({s[name].is_integer() for s in schemas if name in s}) > 1
        ]
        if uneven:
            raise ValueError(
                f"The files in {self._path} do not agree on the type of "
                f"{', '.join(uneven)}: ints in one, not in another. Write them with "
                "one type."
            )

    @contextmanager
    def _blaming(self, file: Path) -> Iterator[None]:
        """A context that adds the file's path to errors."""
        if file.stat().st_size == 0:
            raise ValueError(f"{file} is empty.")
        try:
            yield
        except TextError:
            raise
        except (self._polars.exceptions.PolarsError, OSError) as error:
            raise ValueError(
                f"{file} cannot be read as {_suffix(file) or 'text'}: {error}"
            ) from None


def _ahead(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames, with the next one read ahead in a thread."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, frames, None)
        while (frame := coming.result()) is not None:
            coming = pool.submit(next, frames, None)
            yield frame


def numbers_from_text(polars: ModuleType, text: Column, decimal: str = ".") -> Column:
    """A column of text as numbers, if any text is a number.

    A column of other text, such as times, is returned unchanged.
    """
    plain = text
    if decimal == ",":
        plain = text.str.replace(",", ".", literal=True)
    for kind in (polars.Int64, polars.Float64):
        numbers = plain.cast(kind, strict=False)
        if numbers.null_count() == text.null_count():
            return numbers
    flags = text.replace({"true": "1", "false": "0"}).cast(polars.Int8, strict=False)
    if flags.null_count() == text.null_count():
        return flags
    if numbers.null_count() == len(numbers):
        return text
    mixed = [
        word if number is None else number
        for word, number in zip(text.to_list(), numbers.to_list(), strict=True)
    ]
    return polars.Series(text.name, mixed, dtype=polars.Object)


def _part_files(path: Path, dialect: Dialect) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    if path.is_file():
        if not _suffix(path) and dialect.separator is None:
            raise ValueError(
                f"{path} must end in one of {', '.join(SUFFIXES)}. For another text "
                "file, give its separator (separator='::', --separator '::' or "
                "--separator tab) and, without a header, its columns "
                "(--columns user,item,rating,timestamp)."
            )
        return [path]
    every = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file()
        # Spark and other tools put marker and log files beside the data.
        and not any(n.startswith((".", "_")) for n in file.relative_to(path).parts)
    ]
    files = [file for file in every if _suffix(file)]
    if not files and dialect.separator is not None:
        return every or _none_in(path)
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise ValueError(
            f"The folder {path} has files of several kinds: "
            f"{', '.join(sorted(kinds))}. Keep the part files of one "
            "data set in a folder of their own."
        )
    return files or _none_in(path)


def _none_in(path: Path) -> list[Path]:
    """Raises the error for a folder without files of events."""
    raise ValueError(f"The folder {path} has no {', '.join(SUFFIXES)} file in it.")


def _kind(path: Path) -> str:
    """The suffix without that of the compression."""
    return f".{_suffix(path).split('.')[1]}"


def _suffix(path: Path) -> str:
    """The suffix of the file among SUFFIXES, or ""."""
    name = path.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), "")
