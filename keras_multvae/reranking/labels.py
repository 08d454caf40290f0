"""The labels of users' candidates, and what a list's mix of them comes to."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.data.columns.csr import rows_of, runs
from keras_multvae.ranking.catalogue import SMOOTHING


class Labels:
    """All labels of all candidates, entry after entry, as CSR has them.

    Args:
        indices: (users, candidates) item indices.
        mixes: CSR (items, labels), the shares of an item's labels.

    Attributes:
        owners: The user of each entry.
        labels: Its label.
        ends: (users * candidates + 1,), where each candidate's entries begin and end.
        shape: (users, labels).
    """

    def __init__(self, indices: np.ndarray, mixes: sparse.csr_matrix) -> None:
        self._candidates = indices.shape[1]
        own = mixes[indices.ravel()]
        self.ends = own.indptr.astype("int64")
        self.rows = rows_of(own.indptr)
        self.owners = self.rows // self._candidates
        self.labels = own.indices
        self.shape = len(indices), own.shape[1]
        # By user and label, so that the candidates of a full label are at hand.
        cells = self.owners * self.shape[1] + self.labels
        self._order = np.argsort(cells, kind="stable")
        counts = np.bincount(cells, minlength=self.shape[0] * self.shape[1])
        self._cell_ends = np.concatenate([[0], np.cumsum(counts)])
        self._times = np.zeros(len(counts), "int64")

    def entries_of(self, users: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The entries of one candidate of each user."""
        rows = users * self._candidates + places
        return runs(self.ends[rows], self.ends[rows + 1] - self.ends[rows])

    def count(self, entries: np.ndarray, at_most: int) -> np.ndarray:
        """Counts entries that came on lists; the candidates of labels now full."""
        cells = self.owners[entries] * self.shape[1] + self.labels[entries]
        self._times[cells] += 1
        full = cells[self._times[cells] == at_most]
        starts = self._cell_ends[full]
        found = self._order[runs(starts, self._cell_ends[full + 1] - starts)]
        return self.rows[found]


class LabelPairs:
    """The labels of items, each as one of the pairs (label, share) that there are.

    Few pairs recur among many items: what a pair adds to a list is worked out once.

    Args:
        mixes: CSR (items, labels), the shares of an item's labels.

    Attributes:
        of_items: (items, most labels of one) int32, pairs; `len(labels)` for none.
        labels: (pairs,), the label of each.
        amounts: (pairs,) float32, its share of an item.
    """

    def __init__(self, mixes: sparse.csr_matrix) -> None:
        shares, kind = np.unique(mixes.data.astype("float32"), return_inverse=True)
        pairs, of_entries = np.unique(
            mixes.indices.astype("int64") * max(len(shares), 1) + kind,
            return_inverse=True,
        )
        self.labels, kinds = np.divmod(pairs, max(len(shares), 1))
        self.amounts = shares[kinds]
        sizes = np.diff(mixes.indptr)
        self.of_items = np.full(
            (mixes.shape[0], max(int(sizes.max(initial=0)), 1)), len(pairs), "int32"
        )
        rows = rows_of(mixes.indptr)
        places = np.arange(mixes.nnz) - np.repeat(mixes.indptr[:-1], sizes)
        self.of_items[rows, places] = of_entries


class ListMix:
    """How near a list's mix of labels is to a history's, with each candidate.

    Args:
        pairs: Of all items.
        indices: (users, candidates) item indices.
        mix: (users, labels) float32, the shares of the history; 0 without one.
    """

    def __init__(self, pairs: LabelPairs, indices: np.ndarray, mix: np.ndarray) -> None:
        self._pairs, self._mix, self._candidates = pairs, mix, indices
        self._on_list = np.zeros(mix.shape, "float32")
        self._labelled = np.zeros((len(mix), 1), "float32")
        smallest = np.finfo("float32").tiny
        self._least = np.maximum(np.float32(SMOOTHING) * mix, smallest)
        self._shares = mix[:, pairs.labels]
        self._least_of_pairs = self._least[:, pairs.labels]
        # A column of 0 at the end, for candidates with fewer labels.
        width = len(pairs.labels) + 1
        self._terms = np.zeros((len(mix), width), "float32")
        own = pairs.of_items[indices]
        starts = (np.arange(len(mix)) * width)[:, None]
        self._places = [
            own[:, :, place] + starts for place in range(pairs.of_items.shape[1])
        ]
        self._has = own[:, :, 0] < width - 1

    def add(self, users: np.ndarray, places: np.ndarray) -> None:
        """Puts a candidate on each of some users' lists."""
        pairs = self._pairs
        for own in pairs.of_items[self._candidates[users, places]].T:
            there = own < len(pairs.labels)
            pair = own[there]
            self._on_list[users[there], pairs.labels[pair]] += pairs.amounts[pair]
        self._labelled[users] += self._has[users, places][:, None]

    def gains(self) -> np.ndarray:
        """Minus the KL of a list with each candidate, but for p log p, (users, n).

        sum_l p_l log((1 - a) q_l + a p_l), of which a candidate changes the terms of
        its own labels alone.
        """
        labels = self._pairs.labels
        kept = np.float32(1 - SMOOTHING) / (self._labelled + 1)
        with_one = np.log(kept * self._on_list + self._least)
        ahead = self._on_list[:, labels] + self._pairs.amounts
        ahead *= kept
        ahead += self._least_of_pairs
        np.log(ahead, out=ahead)
        ahead -= with_one[:, labels]
        np.multiply(ahead, self._shares, out=self._terms[:, :-1])
        first, *others = self._places
        gains = self._terms.take(first)
        for each in others:
            gains += self._terms.take(each)
        gains += (self._mix * with_one).sum(axis=1)[:, None]
        if not self._has.all():
            kept = np.float32(1 - SMOOTHING) / np.maximum(self._labelled, 1)
            without = np.log(kept * self._on_list + self._least)
            unlabelled = (self._mix * without).sum(axis=1)[:, None]
            gains = np.where(self._has, gains, unlabelled)
        return gains
