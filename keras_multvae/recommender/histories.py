"""Histories in all forms that callers may pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.data import FoldIn, Interactions, Vocabulary
from keras_multvae.data.columns.clicks import as_csr, is_matrix
from keras_multvae.typing import Histories, Id

OnUnknown = Literal["raise", "skip"]


# Item ids, or counts by item id.
History: TypeAlias = Iterable[Id] | Mapping[Id, float]


class Rows(NamedTuple):
    """A list of histories.

    Args:
        users: Their users: the keys of a dict, or 0, 1, ...
        rows: Lists of raw ids, or dicts from ids to counts.
        single: Whether the caller passed one history rather than several.
    """

    users: list[Id]
    rows: list[History]
    single: bool


def as_rows(histories: Histories, name: str = "histories") -> Rows:
    """Converts histories of any form to a list of histories.

    A history is any iterable of ids, or a dict from ids to counts. The argument is one
    history, an iterable of histories, or a dict from users to histories.

    Args:
        histories: As above. Columns of data frames and arrays are iterables, also those
            of lists; an iterator is read once.
        name: The name of the argument, for messages.

    Raises:
        ValueError: The argument has none of these forms.

    Example:

    >>> as_rows(map(int, "12")).rows, as_rows({"ann": {7}, "bob": []}).users
    ([[1, 2]], ['ann', 'bob'])
    """
    if isinstance(histories, Mapping):
        if not _nested(histories.values(), name):
            return Rows([0], [histories], True)
        users, given = list(histories), list(histories.values())
    else:
        given = listed(histories, name)
        flat = np.ndim(histories) < 2 if isinstance(histories, np.ndarray) else True
        if flat and not _nested(given, name):
            return Rows([0], [given], True)
        users = list(range(len(given)))
    rows: list[History] = [
        each if isinstance(each, Mapping) else listed(each, name) for each in given
    ]
    for row in rows:
        if not isinstance(row, Mapping) and _nested(row, name):
            raise _refused(name, row)
    return Rows(users, rows, False)


def listed(values: object, name: str) -> list[Id]:
    """Any iterable of raw ids as a list of Python ints and strings.

    Raises:
        ValueError: No iterable, a single id, or a data frame.
    """
    if type(values) is list:
        return values
    # Iterating over a data frame gives column names, over text letters.
    if isinstance(values, str | bytes) or hasattr(values, "columns"):
        raise _refused(name, values)
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(values, method):
            found = getattr(values, method)()
            if isinstance(found, list):
                return found
            raise _refused(name, values)
    if not isinstance(values, Iterable):
        raise _refused(name, values)
    return list(values)


def _nested(values: Iterable[object], name: str) -> bool:
    """Whether values are histories rather than ids; refuses a mixture."""
    kinds = set(map(type, values))
    histories = {
        kind
        for kind in kinds
        if issubclass(kind, Iterable) and not issubclass(kind, str | bytes | np.generic)
    }
    if histories and histories != kinds:
        raise ValueError(
            f"`{name}` must be histories or ids, and not both. Received: "
            f"{', '.join(sorted(kind.__name__ for kind in kinds))}."
        )
    return bool(histories)


def _refused(name: str, value: object) -> ValueError:
    shown = repr(value)
    if len(shown) > 80 or "\n" in shown:
        shown = type(value).__name__
    return ValueError(
        f"`{name}` must be an iterable of item ids, a dict from ids to counts, an "
        "iterable of such histories, or a dict from users to them. Received: "
        f"{shown}."
    )


def matrix_of(
    rows: Sequence[History], items: Vocabulary, on_unknown: OnUnknown
) -> sparse.csr_matrix:
    """Lists of raw ids, or dicts from ids to counts, as CSR (rows, items)."""
    checks.choice("on_unknown", on_unknown, ("raise", "skip"))
    find = items.index if on_unknown == "raise" else items.lookup
    indptr, indices, values = [0], [], []
    for history in rows:
        counts = _counts(history)
        found = find(list(counts))
        weights = np.array(list(counts.values()), "float32")
        indices.append(found[found >= 0])
        values.append(weights[found >= 0])
        indptr.append(indptr[-1] + len(indices[-1]))
    matrix = sparse.csr_matrix(
        (
            np.concatenate([np.zeros(0, "float32"), *values]),
            np.concatenate([np.zeros(0, "int64"), *indices]),
            indptr,
        ),
        shape=(len(rows), len(items)),
    )
    matrix.sort_indices()
    return matrix


def _counts(history: Histories) -> dict[Id, float]:
    """The clicks of a history by item, without counts of 0."""
    if not isinstance(history, Mapping):
        return dict.fromkeys(history, 1.0)
    counts = {
        item: float(count) if isinstance(count, Real | np.bool_) else math.nan
        for item, count in history.items()
    }
    for item, count in counts.items():
        if not 0 <= count < math.inf:
            raise ValueError(
                "The counts of a history must be finite numbers >= 0. Received: "
                f"{history[item]!r} for {item!r}."
            )
    return {item: count for item, count in counts.items() if count}


def selected(
    histories: Histories, items: Vocabulary, on_unknown: OnUnknown
) -> tuple[list[Id], sparse.csr_matrix, np.ndarray]:
    """The users, a matrix with the given histories, and the users' rows in it.

    A matrix must have a column for each item, in order; `Interactions` have a
    vocabulary of their own. A DataFrame has the columns user_id and item_id.
    """
    if hasattr(histories, "columns"):
        histories = Interactions.from_dataframe(histories)
    if not is_matrix(histories):
        found = as_rows(histories)
        matrix = matrix_of(found.rows, items, on_unknown)
        return found.users, matrix, np.arange(len(found.rows))
    given = histories.input if isinstance(histories, FoldIn) else histories
    users: list[Id] | None = None
    if isinstance(given, Interactions):
        users = given.users.ids.tolist()
        if given.items != items:
            items.index(given.items.ids, on_unknown)  # may raise UnknownIdError
            given = given.with_items(items)
    matrix = as_csr(given, "histories", len(items))
    rows_of = np.arange(matrix.shape[0])
    return rows_of.tolist() if users is None else users, matrix, rows_of


def of_users(
    stored: Interactions,
    user_ids: Sequence[Id] | Literal["all"],
    on_unknown: OnUnknown,
) -> tuple[list[Id], sparse.csr_matrix, np.ndarray]:
    """The users, the matrix of all stored histories, and the users' rows in it."""
    if isinstance(user_ids, str) and user_ids == "all":
        rows = np.arange(stored.num_users)
    elif isinstance(user_ids, str) or not isinstance(user_ids, Iterable):
        raise ValueError(
            f'`user_ids` must be a list, or "all". Received: {user_ids!r}.'
        )
    else:
        ids = listed(user_ids, "user_ids")
        rows = stored.users.index(ids, on_unknown=on_unknown)
    return stored.users.ids[rows].tolist(), stored.matrix, rows
