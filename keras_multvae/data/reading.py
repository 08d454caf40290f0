"""Interactions from CSV and Parquet files."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_multvae.data.interactions import Interactions, check_columns

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
    names: dict[str, Any] = {
        "user_column": user_column,
        "item_column": item_column,
        "rating_column": rating_column,
        "timestamp_column": timestamp_column,
        "value_column": value_column,
    }
    if isinstance(source, str | os.PathLike):
        source = _read_table(
            Path(source),
            [name for name in names.values() if name is not None],
            [user_column, item_column],
            separator,
        )
    return Interactions.from_dataframe(source, **names, **filters)


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
    table = _read_table(
        Path(path), [item_column, title_column], [item_column], separator
    )
    pairs = zip(
        table[item_column].to_list(), table[title_column].to_list(), strict=True
    )
    return {
        item: str(title)
        for item, title in pairs
        if item is not None and title is not None
    }


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


def _read_table(
    path: Path, columns: Sequence[str], ids: Sequence[str], separator: str | None
) -> Any:
    """The wanted columns of a file or a folder, as one polars DataFrame."""
    polars = import_extra("polars", "data")
    columns = list(dict.fromkeys(columns))
    files = _part_files(path)
    parts = [_read_part(polars, file, columns, separator) for file in files]
    # A part without rows has no types of its own.
    filled = [part for part in parts if part.height]
    if not filled:
        raise ValueError(f"{path} holds no rows, only a header.")
    uneven = [
        name for name in ids if len({p[name].dtype.is_integer() for p in filled}) > 1
    ]
    if uneven and _suffix(files[0]) == ".parquet":
        raise ValueError(
            f"The files in {path} do not agree on the type of {', '.join(uneven)}: "
            "ints in one, not in another. Write them with one type."
        )
    if uneven:
        # A CSV part that happens to hold only digits reads as ints beside one that
        # does not: the ids are then text in all of them.
        texts = dict.fromkeys(uneven, polars.String)
        parts = [_read_part(polars, file, columns, separator, texts) for file in files]
        filled = [part for part in parts if part.height]
    try:
        return polars.concat(filled, how="vertical_relaxed")
    except polars.exceptions.PolarsError as error:
        raise ValueError(
            f"The files in {path} do not agree on the types of their columns: {error}"
        ) from None


def _read_part(
    polars: Any,
    file: Path,
    columns: list[str],
    separator: str | None,
    types: dict[str, Any] | None = None,
) -> Any:
    if file.stat().st_size == 0:
        raise ValueError(f"{file} is empty.")
    suffix = _suffix(file)
    csv: dict[str, Any] = {
        "separator": separator or ("\t" if suffix.startswith(".tsv") else ","),
        # The type of a column follows from all its rows, not from the first hundred.
        "infer_schema_length": None,
        "schema_overrides": types,
    }
    try:
        if suffix == ".parquet":
            check_columns(columns, list(polars.read_parquet_schema(file)), str(file))
            return polars.read_parquet(file, columns=columns)
        head = polars.read_csv(file, n_rows=0, separator=csv["separator"])
        check_columns(columns, head.columns, str(file))
        return polars.read_csv(file, columns=columns, **csv).select(columns)
    except (polars.exceptions.PolarsError, gzip.BadGzipFile, OSError) as error:
        raise ValueError(f"{file} cannot be read as {suffix}: {error}") from None


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
