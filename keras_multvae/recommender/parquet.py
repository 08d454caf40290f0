"""Writing rankings to a Parquet file batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from keras_multvae.data import Vocabulary
from keras_multvae.extras import import_extra
from keras_multvae.files import replace_file
from keras_multvae.ranking import TopK
from keras_multvae.typing import Frame

# Rows of a Parquet row group, which readers skip or read in parallel.
GROUP = 1 << 20


def write(
    path: str | os.PathLike[str],
    users: Vocabulary,
    items: Vocabulary,
    rankings: Iterable[tuple[np.ndarray, TopK]],
) -> int:
    """Writes the file of `Recommender.recommend_to_parquet`.

    Args:
        path: The file; an older one is replaced once the new one is complete.
        users: The vocabulary of the users.
        items: The vocabulary of the items.
        rankings: User indices and their `TopK`, batch by batch. The iterator is not
            consumed until the file is known to be writable.

    Returns:
        The number of rows written.

    Raises:
        ImportError: pyarrow is not installed.
        IsADirectoryError: `path` is a folder.
    """
    pyarrow = import_extra("pyarrow", "data")
    parquet = import_extra("pyarrow.parquet", "data")
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder. Name a file, as in recs.parquet.")
    types = {"int": pyarrow.int64(), "str": pyarrow.string()}
    schema = pyarrow.schema(
        {
            "user_id": types[users.kind],
            "rank": pyarrow.int32(),
            "item_id": types[items.kind],
            "score": pyarrow.float32(),
        }
    )
    item_ids = pyarrow.array(items.ids, types[items.kind])

    def table(indices: np.ndarray, top: TopK) -> Frame:
        row, place = np.nonzero(top.counted)
        user_ids = pyarrow.array(users.ids[indices], types[users.kind])
        columns = [
            user_ids.take(pyarrow.array(row)),
            pyarrow.array(place + 1, "int32"),
            item_ids.take(pyarrow.array(top.indices[row, place])),
            pyarrow.array(top.scores[row, place], "float32"),
        ]
        return pyarrow.table(columns, schema=schema)

    rows = 0
    with (
        replace_file(path) as temporary,
        parquet.ParquetWriter(temporary, schema) as writer,
    ):
        for parts in _groups(table(*ranking) for ranking in rankings):
            group = pyarrow.concat_tables(parts)
            writer.write_table(group, row_group_size=len(group))
            rows += len(group)
    return rows


def _groups(tables: Iterator[Frame]) -> Iterator[list[Frame]]:
    """Groups of consecutive tables with at least `GROUP` rows."""
    waiting, rows = [], 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        if rows >= GROUP:
            yield waiting
            waiting, rows = [], 0
    if rows:
        yield waiting
