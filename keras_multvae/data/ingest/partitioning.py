"""Events by runs of users of which each fits in memory; private."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from keras_multvae.data.columns.csr import row_ends
from keras_multvae.data.columns.mapped import slices
from keras_multvae.data.columns.spilled import RUN, SpillFile, cuts, pieces
from keras_multvae.data.ingest.events import CHUNK
from keras_multvae.data.ingest.numbering import CodedIds


def by_user(
    events: dict[str, np.ndarray], users: CodedIds, items: CodedIds
) -> Iterator[dict[str, np.ndarray]]:
    """The events of one run of users after the other, in file order within each.

    Args:
        events: Columns, in memory or mapped. `users` and `items` are numbers of ids.
        users: The place of each number among the sorted ids, and those.
        items: Likewise.

    Yields:
        The columns, with places for the numbers.
    """
    numbers = np.zeros(len(users.codes), "int64")
    for users_of_part in slices(events["users"], RUN):
        numbers += np.bincount(users_of_part, minlength=len(numbers))
    sizes = np.zeros(len(users.ids), "int64")
    np.add.at(sizes, users.codes, numbers)
    ends = row_ends(sizes)
    bounds = cuts(ends)
    starts = ends[bounds]
    if len(bounds) > 2:
        run = np.searchsorted(bounds, users.codes, side="right") - 1
        events = _grouped(events, run.astype(np.min_scalar_type(len(bounds))), starts)
    for part in pieces(events, starts):
        part["users"] = users.codes[part["users"]]
        part["items"] = items.codes[part["items"]]
        yield part


def _grouped(
    events: dict[str, np.ndarray], run: np.ndarray, starts: np.ndarray
) -> dict[str, np.ndarray]:
    """The events of the first run of users, then of the second, and so on, on disk.

    `run` is of each number of a user, `starts` is where the runs begin, and their end.
    """
    files = {name: SpillFile(array.dtype) for name, array in events.items()}
    places = starts[:-1].copy()
    rows = len(events["users"])
    for part in pieces(events, [*range(0, rows, CHUNK), rows]):
        runs = run[part["users"]]
        order = np.argsort(runs, kind="stable")
        ends = row_ends(np.bincount(runs, minlength=len(places)))
        for name, array in part.items():
            ordered = array[order]
            for place, (start, end) in zip(places, pairwise(ends), strict=True):
                files[name].write(int(place), ordered[start:end])
        places += np.diff(ends)
    return {name: file.mapped() for name, file in files.items()}
