"""Chunks of events from DataFrames, polars' without a Python object a row; private."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_multvae.data.ingest.events import CHUNK, Encoded, array_chunks

ROLES = ("users", "items", "ratings", "values", "timestamps")


def frame_chunks(df: Any, names: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
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
        columns = {role: df[name].to_numpy() for role, name in wanted.items()}
        yield from array_chunks(**columns)


def polars_chunks(
    frames: Iterable[Any], names: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Chunks of polars DataFrames that follow one another."""
    for frame in frames:
        yield {
            role: _encoded_text(frame[name])
            if role in ("users", "items")
            else frame[name].to_numpy()
            for role, name in names.items()
        }


def check_columns(wanted: list[str], found: list[str], source: str) -> None:
    """Raises ValueError if a column is missing; says which there are."""
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"{source} has no column {', '.join(map(repr, missing))}. Columns found: "
            f"{', '.join(map(repr, found))}."
        )


def _encoded_text(series: Any) -> Any:
    """A polars column of ids: text as `Encoded`, all else as polars gives it."""
    import polars

    if series.null_count():
        # As a list, for the message to show the missing id and not a float.
        return series.to_list()
    if series.dtype not in (polars.String, polars.Categorical, polars.Enum):
        return series.to_numpy()
    text = series.cast(polars.String)
    names = text.unique(maintain_order=True)
    codes = text.cast(polars.Enum(names)).to_physical().to_numpy()
    return Encoded(codes.astype("int32"), np.array(names.to_list(), object))
