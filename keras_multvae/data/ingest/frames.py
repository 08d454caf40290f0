"""Chunks of events from DataFrames, polars' without a Python object a row; private."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_multvae.data.columns.plain import plain
from keras_multvae.data.ingest.events import CHUNK, array_chunks
from keras_multvae.data.ingest.numbering import CodedIds
from keras_multvae.typing import Column, Frame

ROLES = ("users", "items", "ratings", "values", "timestamps")


def frame_chunks(
    df: Frame, names: Mapping[str, str | None]
) -> Iterator[dict[str, Any]]:
    """Chunks of a pandas or polars DataFrame; neither is imported unless it is used.

    Args:
        df: The DataFrame.
        names: Column name by role (`users`, `items`, ...); None for what is not there.
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


def polars_chunks(
    frames: Iterable[Any], names: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Chunks of polars DataFrames that follow one another."""
    for frame in frames:
        yield {role: _column(role, frame[name]) for role, name in names.items()}


def _column(role: str, series: Column) -> Any:
    if role in ("users", "items"):
        return _encoded_text(series)
    # Text is times, if it is anything: polars reads it, without an object a row.
    if role == "timestamps" and str(series.dtype) == "String":
        return series
    return plain(series)


def check_columns(
    wanted: list[str], found: list[str], source: str, hint: str = ""
) -> None:
    """Raises ValueError if a column is missing; says which there are."""
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"{source} has no column {', '.join(map(repr, missing))}. Columns found: "
            f"{', '.join(map(repr, found))}.{hint}"
        )


def _encoded_text(series: Column) -> Any:
    """A polars column of ids: text as `CodedIds`, all else as it is."""
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
