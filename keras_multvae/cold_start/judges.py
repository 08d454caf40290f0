"""Users by whom new items are judged, where no held-out ones are given."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.data import FoldIn, Interactions
from keras_multvae.data.columns.mapped import take_runs

# Users at most, and the share of their clicks that is to be found.
MOST, HIDDEN = 5000, 0.2


def judges_of(histories: Interactions, seed: int = 0) -> FoldIn:
    """Users of whom a fifth of the clicks, at least one, is hidden at random.

    A model that was trained on them knows them too well: what new items cost is then
    told too low. Held-out users are better judges.

    Args:
        histories: Clicks; users with fewer than two are left out.
        seed: Int >= 0.

    Raises:
        ValueError: No user has two clicks.
    """
    matrix, rng = histories.matrix, np.random.default_rng(seed)
    sizes = np.diff(matrix.indptr)
    users = np.flatnonzero(sizes >= 2)
    if len(users) == 0:
        raise ValueError(
            "New items are judged by users with two clicks or more, of whom one is "
            f"hidden; there is none. Received: {histories}."
        )
    users = np.sort(rng.permutation(users)[:MOST])
    starts, sizes = matrix.indptr[users].astype("int64"), sizes[users]
    columns = np.asarray(take_runs(matrix.indices, starts, sizes))
    rows = np.repeat(np.arange(len(users)), sizes)
    order = np.lexsort((rng.random(len(rows)), rows))
    place = np.empty(len(rows), "int64")
    place[order] = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    hidden = place < np.maximum((HIDDEN * sizes).astype("int64"), 1)[rows]
    shape = (len(users), histories.num_items)

    def part(kept: np.ndarray) -> Interactions:
        pairs = (np.ones(int(kept.sum()), "float32"), (rows[kept], columns[kept]))
        clicks = sparse.csr_matrix(pairs, shape=shape)
        ids = histories.users.ids[users]
        return Interactions.from_matrix(clicks, users=ids, items=histories.items)

    return FoldIn(part(~hidden), part(hidden))
