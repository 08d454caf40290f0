"""Interactions from CSV and Parquet files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from keras_multvae.data.events import CHUNK
from keras_multvae.data.frames import check_columns, frame_chunks, polars_chunks
from keras_multvae.data.interactions import Interactions
from keras_multvae.data.vocabulary import as_ids

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


def read_interactions(
    source: Any,
    *,
    user_column: str = "user_id",
    item_column: str = "item_id",
    rating_column: str | None = None,
    timestamp_column: str | None = None,
    value_column: str | None = None,
    separator: str | None = None,
    **filters: Any,
) -> Interactions:
    r"""Reads interactions from files or a DataFrame, one event a row.

    Args:
        source: Path of a CSV file (.csv, .tsv, also .gz) with a header, of a Parquet
            file, or of a folder of such part files, all of one kind and read in the
            order of their names; or a pandas or polars DataFrame.
        user_column: Name of the column of user ids.
        item_column: Name of the column of item ids.
        rating_column: Optional, the column that `min_rating` looks at.
        timestamp_column: Optional, seconds since 1970 or datetimes.
        value_column: Optional, the column of event weights, e.g. play counts.
        separator: One character between the fields of a CSV file; by default a tab in
            .tsv files and a comma elsewhere.
        **filters: `min_rating`, `min_user_items`, `min_item_users` and `duplicates`,
            as in `Interactions.from_events`.

    Returns:
        The interactions. An id column of a CSV file is int if all its rows are, else
        str.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: An empty or unreadable file, a missing column, bad numbers, nothing
            left after filtering.
        ImportError: polars is not installed.

    Example:

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "clicks.csv"
    >>> _ = file.write_text("user_id,item_id\n1,x\n1,y\n2,x\n")
    >>> read_interactions(file)
    Interactions(2 users, 2 items, 3 entries)
    """
    names = {
        "users": user_column,
        "items": item_column,
        "ratings": rating_column,
        "values": value_column,
        "timestamps": timestamp_column,
    }
    if not isinstance(source, str | os.PathLike):
        return Interactions._gathered(frame_chunks(source, names), **filters)
    wanted = {role: name for role, name in names.items() if name is not None}
    table = _Table(Path(source), [user_column, item_column], wanted.values(), separator)
    chunks = polars_chunks(table.frames(), wanted)
    return Interactions._gathered(chunks, convert=table.convert, **filters)


def read_titles(
    path: str | os.PathLike[str],
    item_column: str,
    title_column: str,
    separator: str | None = None,
) -> dict[int | str, str]:
    """Reads item titles from a CSV or Parquet file.

    Args:
        path: The file, or a folder of part files, as in `read_interactions`.
        item_column: Name of the column of item ids.
        title_column: Name of the column of titles.
        separator: As in `read_interactions`.

    Returns:
        Title by raw item id; items without a title are left out.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: An empty or unreadable file, or a missing column.
    """
    table = _Table(Path(path), [item_column], [item_column, title_column], separator)
    ids: list[Any] = []
    titles: list[str] = []
    for frame in table.frames():
        titled = frame.drop_nulls()
        ids += titled[item_column].to_list()
        titles += map(str, titled[title_column].to_list())
    return dict(zip(table.convert(ids).tolist(), titles, strict=True))


def import_extra(module: str, extra: str) -> Any:
    """Imports an optional library; says which extra brings it if it is missing."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs {module.partition('.')[0]} ({error}). Install it with: "
            f'pip install "keras_multvae[{extra}]"'
        ) from error


class _Table:
    """The wanted columns of a file, or of the files of a folder, some rows at a time.

    CSV columns are read as text: whether ids are ints follows from all rows of all
    files, so `convert` settles it at the end, on the unique ids.
    """

    def __init__(
        self,
        path: Path,
        ids: Sequence[str],
        columns: Iterable[str],
        separator: str | None,
    ) -> None:
        self._polars = import_extra("polars", "data")
        self._path = path
        self._ids = ids
        self._columns = list(dict.fromkeys(columns))
        files = _part_files(path)
        if _suffix(files[0]) == ".parquet":
            self._parts, self._texts = self._scan_parquet(files), []
            self.convert = as_ids
        else:
            self._parts = self._scan_csv(files, separator)
            self._texts = [name for name in self._columns if name not in ids]
            self.convert = _ids_from_text

    def frames(self) -> Iterator[Any]:
        """polars DataFrames that follow one another."""
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
                    file, separator=separator or ("\t" if tab else ","), infer_schema=False
                )
                check_columns(self._columns, list(part.collect_schema()), str(file))
            parts[file] = part.select(self._columns)
        return parts

    def _scan_parquet(self, files: list[Path]) -> dict[Path, Any]:
        parts, schemas = {}, []
        for file in files:
            with self._blaming(file):
                part = self._polars.scan_parquet(file)
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
                f"{', '.join(uneven)}: ints in one, not in another. Write them with one "
                "type."
            )
        if len(schemas) < 2:
            return parts
        empty = [self._polars.DataFrame(schema=schema) for schema in schemas]
        try:
            common = self._polars.concat(empty, how="vertical_relaxed").schema
        except self._polars.exceptions.PolarsError as error:
            raise ValueError(
                f"The files in {self._path} do not agree on the types of their columns: "
                f"{error}"
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
    for words in (text, text.replace({"true": "1", "false": "0"})):
        for kind in (polars.Int64, polars.Float64):
            numbers = words.cast(kind, strict=False)
            if numbers.null_count() == text.null_count():
                return numbers
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
