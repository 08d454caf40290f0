"""Titles of items in all forms that callers may pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_multvae.tables import columns_of
from keras_multvae.typing import Id


def as_titles(titles: object) -> dict[Id, str]:
    """Titles by raw item id, with Python's own types.

    Args:
        titles: None, a mapping, a pandas Series, or a DataFrame with the columns
            item_id and title; ids may be NumPy scalars. Titles that are None or NaN are
            dropped.

    Raises:
        TypeError: None of these, or a title that is no text.
        ValueError: A DataFrame without these columns.
    """
    if titles is None:
        return {}
    if hasattr(titles, "columns"):
        ids, texts = columns_of(titles, ("item_id", "title")).values()
        titles = dict(zip(ids, texts, strict=True))
    if not (isinstance(titles, Mapping) or hasattr(titles, "items")):
        raise TypeError(
            "`titles` must be a dict from item ids to titles, a pandas Series with the "
            "ids as its index, or a DataFrame with the columns item_id and title. "
            f"Received: {type(titles).__name__}."
        )
    found = {}
    for item, title in titles.items():
        # NaN, pandas' missing value, is the only value unequal to itself.
        if title is None or title != title:
            continue
        if not isinstance(title, str):
            raise TypeError(f"Titles must be text. Received: {title!r} for {item!r}.")
        found[item.item() if isinstance(item, np.generic) else item] = str(title)
    return found
