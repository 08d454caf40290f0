"""Chunks of events from DataFrames; private."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from keras_multvae.data.columns.plain import plain
from keras_multvae.data.ingest.events import CHUNK, array_chunks
from keras_multvae.data.ingest.numbering import CodedIds
from keras_multvae.tables import check_columns
from keras_multvae.typing import Chunk, Column, Frame

ROLES = ("users", "items", "ratings", "values", "timestamps")


def frame_chunks(df: Frame, names: Mapping[str, str | None]) -> Iterator[Chunk]:
    """Yields chunks of a pandas or polars DataFrame, without importing either.

    Args:
        df: The DataFrame.
        names: Column name by role (`users`, `items`, ...), or None.
    """
    if not (hasattr(df, "to_numpy") and hasattr(df, "columns")):
        raise TypeError(
            "Expected a pandas or polars DataFrame. Received: "
            f"{type(df).__name__}. (A polars LazyFrame must be collected first.)"
        )
    wanted = {role: name for role, name in names.items() if name is not None}
    check_columns(list(wanted.values()), list(df.columns), "The DataFrame")
    if hasattr(df, "iter_slices"):
        yield from polars_chunks(df.iter_slices(CHUNK), wanted)
    else:
        yield from array_chunks(**{role: df[name] for role, name in wanted.items()})


def polars_chunks(frames: Iterable[Frame], names: Mapping[str, str]) -> Iterator[Chunk]:
    """Yields chunks of consecutive polars DataFrames."""
    for frame in frames:
        yield {role: _column(role, frame[name]) for role, name in names.items()}


def _column(role: str, series: Column) -> Column:
    """A polars column in the form that its role needs."""
    if role in ("users", "items"):
        return _encoded_text(series)
    # Text can only be times: polars parses it, without a Python object for each row.
    if role == "timestamps" and str(series.dtype) == "String":
        return series
    return plain(series)


def _encoded_text(series: Column) -> Column:
    """A polars column of ids: text as `CodedIds`, other types unchanged."""
    import polars

    if series.dtype not in (polars.String, polars.Categorical, polars.Enum):
        return plain(series)
    text = series.cast(polars.String)
    names = text.drop_nulls().unique(maintain_order=True)
    codes = text.cast(polars.Enum(names)).to_physical()
    if codes.null_count():
        codes = codes.cast(polars.Int32).fill_null(-1)
    ids = np.array(names.to_list(), object)
    return CodedIds(codes.to_numpy().astype("int32"), ids)
