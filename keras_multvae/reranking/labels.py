"""The labels of users' candidates, and what a list's mix of them comes to."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.data.columns.csr import rows_of, runs
from keras_multvae.ranking.catalogue import SMOOTHING

# By how much rounding may raise the value of a candidate, and more.
ROUNDING = np.float32(1e-4)


class Caps:
    """How often each label is on a list, and which candidates a full one rules out.

    Args:
        indices: (users, candidates) item indices.
        mixes: CSR (items, labels), the shares of an item's labels.
        at_most: Int >= 1, items of a label in a list.
    """

    def __init__(
        self, indices: np.ndarray, mixes: sparse.csr_matrix, at_most: int
    ) -> None:
        users, candidates = indices.shape
        own = mixes[indices.ravel()]
        # A cell for each user and label.
        shape = (users * candidates, users * own.shape[1])
        first = np.arange(0, shape[1], own.shape[1], dtype=own.indices.dtype)
        sizes = np.diff(own.indptr[::candidates])
        cells = own.indices + np.repeat(first, sizes)
        self._own = sparse.csr_matrix((own.data, cells, own.indptr), shape)
        self._of_cells = self._own.tocsc()
        self._times = np.zeros(shape[1], "int64")
        self._at_most = at_most

    def add(self, rows: np.ndarray) -> np.ndarray:
        """Puts a candidate on each list; the candidates that have a label now full.

        Args:
            rows: (users,), which of all users' candidates, one after the other.
        """
        cells = _entries(self._own, rows)
        self._times[cells] += 1
        return _entries(self._of_cells, cells[self._times[cells] == self._at_most])


def _entries(matrix: sparse.csr_matrix | sparse.csc_matrix, rows: np.ndarray) -> (
    np.ndarray
):  # fmt: skip
    """The indices of some rows of a CSR matrix, or columns of a CSC one."""
    starts = matrix.indptr[rows].astype("int64")
    found: np.ndarray = matrix.indices[runs(starts, matrix.indptr[rows + 1] - starts)]
    return found


class LabelPairs:
    """The labels of items, each as one of the pairs (label, share) that there are.

    Few pairs recur among many items: what a pair adds to a list is worked out once.
    The last pair stands for none: of label `mixes.shape[1]`, with share 0.

    Args:
        mixes: CSR (items, labels), the shares of an item's labels.

    Attributes:
        of_items: (items, most labels of one, at least 1) int32, pairs.
        labels: (pairs,), the label of each.
        amounts: (pairs,) float32, its share of an item.
    """

    def __init__(self, mixes: sparse.csr_matrix) -> None:
        shares, kind = np.unique(mixes.data.astype("float32"), return_inverse=True)
        pairs, of_entries = np.unique(
            mixes.indices.astype("int64") * max(len(shares), 1) + kind,
            return_inverse=True,
        )
        labels, kinds = np.divmod(pairs, max(len(shares), 1))
        self.labels = np.append(labels, mixes.shape[1])
        self.amounts = np.append(shares[kinds], np.float32(0))
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
        weight: Float32, what a gain counts.
    """

    def __init__(
        self,
        pairs: LabelPairs,
        indices: np.ndarray,
        mix: np.ndarray,
        weight: np.float32,
    ) -> None:
        self._pairs, self._mix, self._weight = pairs, mix, weight
        # Users are the last axis, so that a label's row is read in one piece.
        self._users = np.arange(len(mix))
        smallest = np.finfo("float32").tiny
        self._least = np.maximum(np.float32(SMOOTHING) * mix.T, smallest, order="C")
        self._on_list = np.zeros((mix.shape[1] + 1, len(mix)), "float32")
        self._labelled = np.zeros(len(mix), "float32")
        self._shares, self._least_of_pairs = (
            np.ascontiguousarray(each)[pairs.labels[:-1]]
            for each in (mix.T, self._least)
        )
        # The last row stays 0: it is that of no label.
        self._terms = np.zeros((len(pairs.labels), len(mix)), "float32")
        own = pairs.of_items[indices].reshape(indices.size, -1)
        self._own, self._has = own, own[:, 0] < len(pairs.labels) - 1
        self._all_have = bool(self._has.all())
        owners = np.arange(indices.size) // indices.shape[1]
        # One array for the first labels, one for the second ...: an index into terms.
        self._places = list(own.T.astype("int64", order="C") * len(mix) + owners)
        self._gains = np.empty(indices.shape, "float32")
        self._starts = self._users * indices.shape[1]
        self._renew_terms()
        self._renew(np.arange(indices.size))

    def add(self, rows: np.ndarray) -> None:
        """Puts a candidate on each list, see `Caps.add`."""
        own = self._own.take(rows, axis=0)
        cells = self._pairs.labels.take(own) * len(rows) + self._users[:, None]
        now = self._on_list.take(cells) + self._pairs.amounts.take(own)
        self._on_list.ravel()[cells] = now
        self._labelled += self._has.take(rows)

    def added_to(self, values: np.ndarray) -> np.ndarray:
        """Values (users, candidates) and what they gain, right for each user's best.

        A gain is minus the KL of a list with the candidate, but for p log p, times
        `weight`: sum_l p_l log((1 - a) q_l + a p_l), of which a candidate changes the
        terms of its own labels alone. What it changes never grows with the list, so
        what was worked out last is a bound, and only who could be best is worked out
        anew (Minoux, 1978).
        """
        constants = self._renew_terms()
        found = values + self._weight * (self._gains + constants)
        best = self._starts + found.argmax(axis=1)
        self._set(found, values, constants, best)
        least = found.take(best) - ROUNDING
        self._set(found, values, constants, np.flatnonzero(found > least[:, None]))
        return found

    def _set(
        self,
        found: np.ndarray,
        values: np.ndarray,
        constants: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        """Works out the values of some candidates anew."""
        gains = self._renew(rows)
        gains += constants.take(rows // (found.size // constants.size))
        gains *= self._weight
        gains += values.take(rows)
        found.ravel()[rows] = gains

    def _renew(self, rows: np.ndarray) -> np.ndarray:
        """What some candidates change, by the terms as they are now."""
        first, *others = self._places
        gains = self._terms.take(first.take(rows))
        for each in others:
            gains += self._terms.take(each.take(rows))
        self._gains.ravel()[rows] = gains
        return gains

    def _renew_terms(self) -> np.ndarray:
        """Sets what each pair changes; what there is besides, (users, 1 or n)."""
        labels = self._pairs.labels[:-1]
        on_list = self._on_list[:-1]
        kept = np.float32(1 - SMOOTHING) / (self._labelled + 1)
        with_one = np.log(kept * on_list + self._least)
        ahead = on_list[labels]
        ahead += self._pairs.amounts[:-1, None]
        ahead *= kept
        ahead += self._least_of_pairs
        np.log(ahead, out=ahead)
        ahead -= with_one[labels]
        np.multiply(ahead, self._shares, out=self._terms[:-1])
        constants = self._sum(with_one)
        if self._all_have:
            return constants
        kept = np.float32(1 - SMOOTHING) / np.maximum(self._labelled, 1)
        without = self._sum(np.log(kept * on_list + self._least))
        return np.where(self._has.reshape(self._gains.shape), constants, without)

    def _sum(self, logs: np.ndarray) -> np.ndarray:
        """Of the history's shares times these, (users, 1)."""
        terms = np.ascontiguousarray(logs.T)
        terms *= self._mix
        found: np.ndarray = terms.sum(axis=1, keepdims=True)
        return found
