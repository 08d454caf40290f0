"""Interactions as events: a DataFrame with a row for each entry; private."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.data.columns.csr import rows_of
from keras_multvae.tables import ToFrames
from keras_multvae.typing import Column


class EventFrames(ToFrames):
    """What an `Interactions` has of a table of events."""

    matrix: sparse.csr_matrix
    timestamps: np.ndarray | None
    fractions: np.ndarray | None

    def _columns(self) -> dict[str, Column]:
        users, items = (getattr(self, name).ids for name in ("users", "items"))
        columns = {
            "user_id": users[rows_of(self.matrix.indptr)],
            "item_id": items[self.matrix.indices],
            "value": np.asarray(self.matrix.data),
        }
        if self.timestamps is None:
            return columns
        times = self.timestamps.astype("datetime64[s]")
        if self.fractions is None:
            return {**columns, "timestamp": times.astype("datetime64[ms]")}
        parts = self.fractions.astype("timedelta64[ns]")
        return {**columns, "timestamp": times.astype("datetime64[ns]") + parts}
