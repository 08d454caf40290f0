"""Interactions from CSV and Parquet files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keras_multvae.data.ingest.files import Table
from keras_multvae.data.ingest.frames import frame_chunks, polars_chunks
from keras_multvae.data.interactions import Interactions, from_chunks
from keras_multvae.extras import import_extra


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
        str. Beyond 16 million entries the arrays are mapped from temporary files,
        read-only; these go with the interactions, and `TMPDIR` says where they are.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: An empty or unreadable file, a missing column, bad numbers, nothing
            left after filtering.
        OSError: No room for temporary files.
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
        return from_chunks(frame_chunks(source, names), **filters)
    wanted = {role: name for role, name in names.items() if name is not None}
    ids, columns = [user_column, item_column], list(wanted.values())
    table = Table(_polars(), Path(source), ids, columns, separator)
    chunks = polars_chunks(table.frames(), wanted)
    return from_chunks(chunks, convert=table.convert, **filters)


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
    columns = [item_column, title_column]
    table = Table(_polars(), Path(path), [item_column], columns, separator)
    ids: list[Any] = []
    titles: list[str] = []
    for frame in table.frames():
        titled = frame.drop_nulls()
        ids += titled[item_column].to_list()
        titles += map(str, titled[title_column].to_list())
    return dict(zip(table.convert(ids).tolist(), titles, strict=True))


def _polars() -> Any:
    return import_extra("polars", "data")
