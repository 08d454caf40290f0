"""Files of items: titles and features, for `prepare` and `add-items`."""

from __future__ import annotations

import argparse

from keras_multvae.data import Vocabulary, read_columns, read_titles
from keras_multvae.features import ItemFeatures
from keras_multvae.features.item_features import aligned
from keras_multvae.typing import Id, Json, Value

# In the place of the column of titles, where a file has none.
NO_TITLES = "none"
# How text is written: as the events are, and in its own way where that is told.
_SAME, _OWN = ("quote", "null", "id_type"), ("separator", "encoding", "columns")


def _reading(arguments: argparse.Namespace) -> Json:
    """How the file of items is written, where the events may be written otherwise."""
    found = {name: getattr(arguments, name) for name in (*_SAME, *_OWN)}
    # Of `prepare`, whose events have options of these names.
    for name in _OWN:
        own = getattr(arguments, f"items_{name}", None)
        if own is not None or (name == "columns" and "ratings" in arguments):
            found[name] = own
    return found


def _id_column(arguments: argparse.Namespace) -> str:
    column: str = getattr(arguments, "items_id_column", None) or arguments.item_column
    return column


def titles_of(
    arguments: argparse.Namespace, items: Vocabulary
) -> dict[int | str, str] | None:
    """Titles from the file of --items; None where it is to have none.

    Raises:
        ValueError: None of them is of an item of the events.
    """
    if arguments.title_column == NO_TITLES:
        return None
    titles = read_titles(
        arguments.items,
        _id_column(arguments),
        arguments.title_column,
        items=items,
        **_reading(arguments),
    )
    if titles:
        _check_known(list(titles), items, "title", arguments.items)
    return titles


def columns_of(
    arguments: argparse.Namespace, items: Vocabulary, names: list[str]
) -> tuple[list[Id], dict[str, list[Value]]]:
    """The ids of the file of --items, and its columns of these names."""
    return read_columns(
        arguments.items,
        _id_column(arguments),
        names,
        items=items,
        **_reading(arguments),
    )


def features_of(
    arguments: argparse.Namespace, items: Vocabulary
) -> tuple[ItemFeatures, int]:
    """The features of items from the file of --items, and how many items have a row.

    Raises:
        ValueError: No row is of one of the items.
    """
    kinds = dict(arguments.features)
    ids, columns = columns_of(arguments, items, list(kinds))
    _check_known(ids, items, "row", arguments.items)
    in_order = aligned(ids, columns, items.ids.tolist())
    given = {name: kind for name, kind in kinds.items() if kind is not None}
    found = ItemFeatures.from_columns(in_order, given, arguments.label_separator)
    return found, len(set(ids) & set(items.ids.tolist()))


def _check_known(ids: list[Id], items: Vocabulary, what: str, path: str) -> None:
    if ids and not (items.lookup(ids) >= 0).any():
        raise ValueError(
            f"No {what} in {path} is of an item of the events: its ids are "
            f"as {ids[0]!r}, those of the events as {items.ids[0]!r}. "
            "Name the column of ids with --items-id-column, or keep ids as text with "
            "--id-type str."
        )
