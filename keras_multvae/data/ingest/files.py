"""Columns of CSV and Parquet files, some rows at a time; private."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_multvae.data.ingest.events import CHUNK
from keras_multvae.data.ingest.frames import check_columns
from keras_multvae.data.vocabulary import as_ids

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


class Table:
    """The wanted columns of a file, or of the files of a folder, some rows at a time.

    CSV columns are read as text: whether ids are ints follows from all rows of all
    files, so `convert` settles it at the end, on the unique ids.
    """

    def __init__(
        self,
        polars: Any,
        path: Path,
        ids: Sequence[str],
        columns: Iterable[str],
        separator: str | None,
    ) -> None:
        self._polars = polars
        self._path = path
        self._ids = ids
        self._columns = list(dict.fromkeys(columns))
        self.convert: Callable[[Any], np.ndarray]
        files = _part_files(path)
        if _suffix(files[0]) == ".parquet":
            self._parts, self._texts = self._scan_parquet(files), []
            self.convert = as_ids
        else:
            self._parts = self._scan_csv(files, separator)
            self._texts = [name for name in self._columns if name not in ids]
            self.convert = _ids_from_text

    def frames(self) -> Iterator[Any]:
        """DataFrames that follow one another."""
        rows = 0
        for file, part in self._parts.items():
            with self._blaming(file):
                for frame in part.collect_batches(chunk_size=CHUNK):
                    rows += frame.height
                    yield frame.with_columns(
                        _numbers_from_text(self._polars, frame[name])
                        for name in self._texts
                    )
        if rows == 0:
            raise ValueError(f"{self._path} holds no rows, only a header.")

    def _scan_csv(self, files: list[Path], separator: str | None) -> dict[Path, Any]:
        parts = {}
        for file in files:
            tab = _suffix(file).startswith(".tsv")
            with self._blaming(file):
                part = self._polars.scan_csv(
                    file,
                    separator=separator or ("\t" if tab else ","),
                    infer_schema=False,
                    glob=False,
                )
                check_columns(self._columns, list(part.collect_schema()), str(file))
            parts[file] = part.select(self._columns)
        return parts

    def _scan_parquet(self, files: list[Path]) -> dict[Path, Any]:
        parts, schemas = {}, []
        for file in files:
            with self._blaming(file):
                part = self._polars.scan_parquet(file, glob=False)
                schema = part.collect_schema()
                check_columns(self._columns, list(schema), str(file))
                # A part without rows has no types of its own.
                if part.select(self._polars.len()).collect().item():
                    parts[file] = part.select(self._columns)
                    schemas.append({name: schema[name] for name in self._columns})
        uneven = [i for i in self._ids if len({s[i].is_integer() for s in schemas}) > 1]
        if uneven:
            raise ValueError(
                f"The files in {self._path} do not agree on the type of "
                f"{', '.join(uneven)}: ints in one, not in another. Write them with "
                "one type."
            )
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
        return {file: part.cast(dict(common)) for file, part in parts.items()}

    @contextmanager
    def _blaming(self, file: Path) -> Iterator[None]:
        if file.stat().st_size == 0:
            raise ValueError(f"{file} is empty.")
        try:
            yield
        except (self._polars.exceptions.PolarsError, OSError) as error:
            raise ValueError(
                f"{file} cannot be read as {_suffix(file)}: {error}"
            ) from None


def _numbers_from_text(polars: Any, text: Any) -> Any:
    """A column of text as numbers; what is none stays text, for the error to show."""
    for kind in (polars.Int64, polars.Float64):
        numbers = text.cast(kind, strict=False)
        if numbers.null_count() == text.null_count():
            return numbers
    flags = text.replace({"true": "1", "false": "0"}).cast(polars.Int8, strict=False)
    if flags.null_count() == text.null_count():
        return flags
    mixed = [
        word if number is None else number
        for word, number in zip(text.to_list(), numbers.to_list(), strict=True)
    ]
    return polars.Series(text.name, mixed, dtype=polars.Object)


_INT = re.compile(r"-?[0-9]+")
_FLOAT = re.compile(
    r"[-+]?([0-9]*\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|[0-9]+\.|inf|NaN)"
)


def _ids_from_text(ids: Any) -> np.ndarray:
    """Ints if all ids are; a column with decimal numbers is refused, as from floats."""
    if all(map(_INT.fullmatch, ids)):
        return as_ids(list(map(int, ids)))
    if all(_INT.fullmatch(text) or _FLOAT.fullmatch(text) for text in ids):
        return as_ids(list(map(float, ids)))
    return as_ids(ids)


def _part_files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    if path.is_file():
        if not _suffix(path):
            raise ValueError(
                f"{path} must end in one of {', '.join(SUFFIXES)}. Rename it."
            )
        return [path]
    files = sorted(file for file in path.iterdir() if _suffix(file))
    kinds = {_suffix(file).partition(".gz")[0] for file in files}
    if not files:
        raise ValueError(f"The folder {path} has no {', '.join(SUFFIXES)} file in it.")
    if len(kinds) > 1:
        raise ValueError(
            f"The folder {path} has files of several kinds: "
            f"{', '.join(sorted(kinds))}. Keep the part files of one "
            "data set in a folder of their own."
        )
    return files


def _suffix(path: Path) -> str:
    """Which of SUFFIXES the file has, or nothing (also for hidden files)."""
    name = path.name.lower()
    if name.startswith((".", "_")):
        return ""
    return next((s for s in SUFFIXES if name.endswith(s)), "")
