"""One metric over all batches of an evaluation."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.data.columns.csr import rows_of
from keras_multvae.evaluation import accuracy, beyond_accuracy
from keras_multvae.evaluation.beyond_accuracy import OF_ALL, Catalogue, gini
from keras_multvae.ranking import TopK

BY_DECILE, DECILES = "ndcg_by_decile", 10


class Tally:
    """What has been measured so far.

    Args:
        kind: The metric's name, without its depth.
        k: Its depth.
        catalogue: What is known of the items.
    """

    def __init__(self, kind: str, k: int, catalogue: Catalogue) -> None:
        self.kind, self.k, self._catalogue = kind, k, catalogue
        self._parts: list[np.ndarray] = []
        self._counts = np.zeros(0, "int64")

    def add(
        self,
        top: TopK,
        hits: np.ndarray,
        targets: sparse.csr_matrix,
        history: sparse.csr_matrix,
    ) -> None:
        """Takes the rankings of a batch, cut to the metric's depth.

        Args:
            top: At least as deep.
            hits: (users, places) float64, 1 where a place has a target.
            targets: CSR (users, items), at least one a user.
            history: CSR (users, items), what the users were ranked by.
        """
        k = self.k
        cut = TopK(top.indices[:, :k], top.scores[:, :k], np.minimum(top.valid, k))
        hits, wanted = hits[:, :k], np.diff(targets.indptr)
        if self.kind in accuracy.PER_USER:
            self._parts.append(accuracy.PER_USER[self.kind](hits, wanted, k))
        elif self.kind in beyond_accuracy.PER_USER:
            measure = beyond_accuracy.PER_USER[self.kind]
            self._parts.append(measure(cut, self._catalogue, history, hits, k))
        elif self.kind == BY_DECILE:
            self._parts.append(self._by_decile(cut, hits, targets))
        else:
            items = cut.indices[cut.counted]
            counts = np.bincount(items, minlength=targets.shape[1])
            self._counts = counts + (self._counts if len(self._counts) else 0)

    def _by_decile(
        self, top: TopK, hits: np.ndarray, targets: sparse.csr_matrix
    ) -> np.ndarray:
        """NDCG of the targets of each decile alone, (users, 10); NaN without any."""
        deciles = self._catalogue.deciles
        rows = rows_of(targets.indptr)
        found = np.full((targets.shape[0], DECILES), np.nan)
        for decile in range(1, DECILES + 1):
            of_targets = deciles[targets.indices] == decile
            wanted = np.bincount(rows[of_targets], minlength=len(found))
            some = wanted > 0
            own = (hits * (deciles[top.indices] == decile))[some]
            found[some, decile - 1] = accuracy.PER_USER["ndcg"](
                own, wanted[some], self.k
            )
        return found

    def per_user(self, name: str) -> dict[str, np.ndarray]:
        """Its values, (users,), by name; ten of them for what is by decile."""
        values = np.concatenate(self._parts)
        if self.kind != BY_DECILE:
            return {name: values}
        return {
            f"ndcg_decile_{decile + 1}@{self.k}": values[:, decile]
            for decile in range(DECILES)
        }

    def of_all(self) -> float:
        """Its value for all users together."""
        assert self.kind in OF_ALL
        if self.kind == "gini":
            return gini(self._counts)
        return float((self._counts > 0).mean())
