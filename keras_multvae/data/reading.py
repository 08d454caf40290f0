"""Reading interactions and titles from files of every kind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from keras_multvae.data.columns.plain import missing
from keras_multvae.data.ingest.dialect import Dialect
from keras_multvae.data.ingest.files import FileReader
from keras_multvae.data.ingest.frames import frame_chunks, polars_chunks
from keras_multvae.data.ingest.ids import converter
from keras_multvae.data.ingest.shown import reading
from keras_multvae.data.interactions import Interactions, from_chunks
from keras_multvae.data.vocabulary import Vocabulary
from keras_multvae.extras import import_extra
from keras_multvae.typing import Id, Value

IdType = Literal["auto", "str", "int"]


def read_interactions(
    source: object,
    *,
    user_column: str = "user_id",
    item_column: str = "item_id",
    rating_column: str | None = None,
    timestamp_column: str | None = None,
    value_column: str | None = None,
    separator: str | None = None,
    quote: str | None = None,
    encoding: str | None = None,
    null: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    decimal: str = ".",
    id_type: IdType = "auto",
    users: Vocabulary | None = None,
    items: Vocabulary | None = None,
    progress: bool = False,
    **filters: Any,
) -> Interactions:
    r"""Reads interactions from files or a DataFrame of events.

    A row that cannot be read raises an error with its line; no row is skipped.

    Args:
        source: Path of a CSV file (.csv, .tsv), of JSON lines (.jsonl, .ndjson), all
            also packed (.gz, .zst), of a Parquet file, or of a folder of such part
            files, also in subfolders, all of one kind and read in the order of their
            names; or a pandas or polars DataFrame. Folders called `name=value` add that
            column to their rows. With `separator`, a text file may have any name.
        user_column: Name of the column of user ids.
        item_column: Name of the column of item ids.
        rating_column: Optional, the column for `min_rating`.
        timestamp_column: Optional, seconds or milliseconds since 1970, dates, datetimes
            or ISO text.
        value_column: Optional, the column of event weights, e.g. play counts.
        separator: The separator of fields in a text file, such as "::"; by default a
            tab in .tsv files and a comma elsewhere.
        quote: The character around fields that contain separators or line breaks, or
            "none". By default '"', but "none" if the separator is a tab or longer than
            one character.
        encoding: The encoding of a text file, such as "latin-1"; UTF-8 by default.
        null: The spelling of missing values in a text file, besides the empty field: by
            default "NULL", "\\N" and "NaN".
        columns: The names of the fields of a text file without a header. Those that are
            called user, item, rating, timestamp and value need no `user_column` etc.;
            ratings are read only with `min_rating`.
        decimal: The decimal mark of numbers in a text file, "." or ",".
        id_type: "str" reads all ids as text, "int" accepts only whole numbers. By
            default the ids of a text file are ints if each id equals the text of its
            int: with "0012", or an int beyond 64 bits, the column stays text.
        users: Optional vocabulary of users; text ids are converted to its kind.
        items: Optional, likewise for the items.
        progress: Bool, whether to show progress on standard error.
        **filters: `min_rating`, `min_user_items`, `min_item_users`, `k_core`,
            `duplicates`, `drop_missing` and `time_unit`, as in
            `Interactions.from_events`.

    Returns:
        The interactions; `counts` has the numbers of events read and lost to each
        filter. Beyond 16 million entries the arrays are memory-mapped and read-only.
        Their temporary files, in `TMPDIR`, are removed with the interactions.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: An empty or unreadable file, a missing column, bad numbers, nothing
            left after filtering.
        TypeError: A missing id, or ids of several kinds.
        OSError: The disk is too full for temporary files.
        ImportError: polars is not installed.

    Example:

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "clicks.csv"
    >>> _ = file.write_text("user_id,item_id\n1,x\n1,y\n2,x\n")
    >>> read_interactions(file)
    Interactions(2 users, 2 items, 3 entries)
    """
    dialect = Dialect(separator, quote, encoding, null, columns, decimal)
    names = {
        "users": user_column,
        "items": item_column,
        "ratings": rating_column,
        "values": value_column,
        "timestamps": timestamp_column,
    }
    if not isinstance(source, str | os.PathLike):
        if dialect.given:
            raise ValueError(
                f"`{dialect.given[0]}` is for text files. Received with a "
                f"{type(source).__name__}."
            )
        convert = {
            "users": converter(id_type, False, users),
            "items": converter(id_type, False, items),
        }
        return from_chunks(frame_chunks(source, names), convert=convert, **filters)
    wanted = dialect.resolved(names, filters.get("min_rating") is not None)
    ids = [wanted["users"], wanted["items"]]
    reader = FileReader(_polars(), Path(source), ids, wanted.values(), dialect)
    with reading(str(source), lambda: reader.done, progress) as shown:
        found = from_chunks(
            polars_chunks(shown(reader.frames()), wanted),
            convert={
                "users": converter(id_type, reader.is_text, users),
                "items": converter(id_type, reader.is_text, items),
            },
            where=reader.where,
            **filters,
        )
    found.counts.update(reader.counts)
    return found


def read_titles(
    path: str | os.PathLike[str],
    item_column: str,
    title_column: str,
    separator: str | None = None,
    *,
    quote: str | None = None,
    encoding: str | None = None,
    null: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    id_type: IdType = "auto",
    items: Vocabulary | None = None,
) -> dict[int | str, str]:
    """Reads item titles from a file of any kind that `read_interactions` reads.

    Args:
        path: The file, or a folder of part files, as in `read_interactions`.
        item_column: Name of the column of item ids.
        title_column: Name of the column of titles.
        separator: As in `read_interactions`, like all that follow.
        quote: See there.
        encoding: See there.
        null: See there.
        columns: See there.
        id_type: See there.
        items: Optional vocabulary of items; text ids are converted to its kind.

    Returns:
        Title by raw item id; rows without an id or a title are left out.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: An empty or unreadable file, or a missing column.
    """
    dialect = Dialect(separator, quote, encoding, null, columns)
    wanted = [item_column, title_column]
    # Titles are text, even if they look like numbers.
    reader = FileReader(_polars(), Path(path), wanted, wanted, dialect)
    ids: list[Id] = []
    titles: list[str] = []
    for frame in reader.frames():
        columns_of = [frame[name].to_list() for name in wanted]
        gaps = [missing(column) for column in columns_of]
        for row, (item, title) in enumerate(zip(*columns_of, strict=True)):
            if not any(gap is not None and gap[row] for gap in gaps):
                ids.append(item)
                titles.append(str(title))
    ids = _ids(ids, id_type, reader, items)
    return dict(zip(ids, titles, strict=True))


def read_columns(
    path: str | os.PathLike[str],
    item_column: str,
    names: Sequence[str],
    separator: str | None = None,
    *,
    quote: str | None = None,
    encoding: str | None = None,
    null: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    id_type: IdType = "auto",
    items: Vocabulary | None = None,
) -> tuple[list[Id], dict[str, list[Value]]]:
    r"""Reads columns of a file of items, of any kind that `read_interactions` reads.

    Args:
        path: The file, or a folder of part files, as in `read_interactions`.
        item_column: Name of the column of item ids.
        names: Names of the other columns to read, as for `ItemFeatures.from_columns`.
        separator: As in `read_interactions`, like all that follow.
        quote: See there.
        encoding: See there.
        null: See there.
        columns: See there.
        id_type: See there.
        items: Optional vocabulary that the ids will be looked up in: each id that is
            text takes the kind of its ids.

    Returns:
        The raw ids, and by name a list with a value for each of them, None where it is
        missing; rows without an id are left out.

    Raises:
        FileNotFoundError: No such file or folder.
        ValueError: An empty or unreadable file, a missing column, or an item that comes
            twice.

    Example:

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "films.csv"
    >>> _ = file.write_text("item_id,genres\n1,Drama|War\n2,\n")
    >>> read_columns(file, "item_id", ["genres"])
    ([1, 2], {'genres': ['Drama|War', None]})
    """
    dialect = Dialect(separator, quote, encoding, null, columns)
    wanted = list(dict.fromkeys([item_column, *names]))
    reader = FileReader(_polars(), Path(path), wanted, wanted, dialect)
    found: dict[str, list[Value]] = {name: [] for name in wanted}
    for frame in reader.frames():
        for name in wanted:
            found[name] += frame[name].to_list()
    raw = found[item_column]
    gap = missing(raw)
    kept = [row for row in range(len(raw)) if gap is None or not gap[row]]
    ids = _ids([raw[row] for row in kept], id_type, reader, items)
    repeated = [item for item, times in Counter(ids).items() if times > 1]
    if repeated:
        raise ValueError(
            f"{path} must have a row for each item. Received {len(repeated)} items "
            f"that have several, as {repeated[0]!r}."
        )
    return ids, {name: [found[name][row] for row in kept] for name in names}


def _ids(
    ids: list[Id], id_type: IdType, reader: FileReader, items: Vocabulary | None
) -> list[Id]:
    """Raw ids of a file, of the kind that they are to have."""
    if items is not None and id_type == "auto":
        return items.from_text(ids)
    converted: list[Id] = converter(id_type, reader.is_text)(ids).tolist()
    return converted


def _polars() -> ModuleType:
    return import_extra("polars", "data")
