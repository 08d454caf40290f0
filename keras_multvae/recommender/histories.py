"""Histories as callers give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import sparse

from keras_multvae.data import Interactions, Vocabulary, read_interactions

OnUnknown = Literal["raise", "skip"]


def is_single(histories: Any) -> bool:
    """Whether it is one history rather than a list of them."""
    if isinstance(histories, str) or not isinstance(histories, Iterable):
        raise ValueError(
            "`histories` must be a list of item ids, or a list of such lists. "
            f"Received: {histories!r}."
        )
    nested = (Mapping, list, tuple, set, np.ndarray)
    if isinstance(histories, Mapping):
        return True
    return not any(isinstance(each, nested) for each in histories)


def matrix_of(
    rows: list[Any], items: Vocabulary, on_unknown: OnUnknown
) -> sparse.csr_matrix:
    """Lists of raw ids, or dicts from ids to counts, as CSR (rows, items)."""
    indptr, indices, values = [0], [], []
    for history in rows:
        counts = (
            history if isinstance(history, Mapping) else dict.fromkeys(history, 1.0)
        )
        find = items.index if on_unknown == "raise" else items.lookup
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


def of_users(
    stored: Interactions,
    user_ids: Sequence[Any] | Literal["all"],
    on_unknown: OnUnknown,
) -> tuple[list[Any], sparse.csr_matrix, np.ndarray]:
    """Users by their ids, the matrix of all stored histories, and their rows in it."""
    if isinstance(user_ids, str) and user_ids == "all":
        rows = np.arange(stored.num_users)
    elif isinstance(user_ids, str) or not isinstance(user_ids, Iterable):
        raise ValueError(
            f'`user_ids` must be a list, or "all". Received: {user_ids!r}.'
        )
    else:
        rows = stored.users.index(list(user_ids), on_unknown=on_unknown)
    return stored.users.ids[rows].tolist(), stored.matrix, rows


def holds_events(path: Path) -> bool:
    """Whether it is a file, or a folder of files, rather than a folder of ours."""
    return path.is_file() or (path.is_dir() and not (path / "manifest.json").exists())


def of_events(source: Any, items: Vocabulary, on_unknown: OnUnknown) -> Interactions:
    """Histories from files of events with the columns `user_id` and `item_id`.

    Of a user without a known item nothing is known, but that there is one. `counts`
    says how many items of the files are unknown, and entries with them.
    """
    events = read_interactions(source, items=items)
    # Text takes the kind of the model's ids. Raises, if it is to.
    known = items.index(items.from_text(events.items.ids), on_unknown)
    found = events.with_items(items)
    counts = {
        "unknown_items": events.num_items - len(known),
        "entries_of_unknown_items": events.num_entries - found.num_entries,
    }
    return replace(found, counts=events.counts | counts)
