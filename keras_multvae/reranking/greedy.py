"""Place by place, for many users at a time."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.features.feature import Matrix
from keras_multvae.ranking import TopK
from keras_multvae.ranking.catalogue import mix_of
from keras_multvae.reranking.labels import Caps, ListMix
from keras_multvae.reranking.settings import Items, Reranking

# Users at a time: what is read for each place stays in the cache.
BLOCK = 512


def reranked(
    top: TopK,
    k: int,
    reranking: Reranking,
    items: Items,
    history: sparse.csr_matrix,
) -> TopK:
    """The lists that a re-ranking makes of candidates.

    Args:
        top: Candidates, best first.
        k: Int >= 1, items a list.
        reranking: What is wanted.
        items: See `items_of`.
        history: CSR (users, items), for the mix of labels.

    Returns:
        `TopK` with up to `k` columns: items in the order that they were chosen in, and
        their scores. A list is shorter where `at_most` leaves too few candidates.
    """
    k = min(k, top.indices.shape[1])
    parts = [
        _Block(
            TopK(*(each[start : start + BLOCK] for each in top)),
            reranking,
            items,
            history[start : start + BLOCK],
        ).chosen(k)
        for start in range(0, len(top.valid), BLOCK)
    ]
    if not parts:
        return TopK(top.indices[:, :k], top.scores[:, :k], top.valid)
    return TopK(*(np.concatenate(each) for each in zip(*parts, strict=True)))


class _Block:
    """The candidates of some users, and what has been chosen of them."""

    def __init__(
        self,
        top: TopK,
        reranking: Reranking,
        items: Items,
        history: sparse.csr_matrix,
    ) -> None:
        self.top, self.wanted = top, reranking
        users, count = top.indices.shape
        self.starts = np.arange(users) * count
        share = 1 - reranking.diversity - reranking.calibration
        value = np.where(top.counted, share * _relevance(top), -np.inf)
        self.value = value.astype("float32")
        self.likeness: Likeness | None = None
        self.caps: Caps | None = None
        self.mix: ListMix | None = None
        if reranking.diversity:
            self.likeness = Likeness(top.indices, items.unit_vectors)
        if reranking.at_most is not None:
            mixes = items.catalogue.mixes
            self.caps = Caps(top.indices, mixes, reranking.at_most)
        if reranking.calibration:
            mix = np.nan_to_num(mix_of(history, items.catalogue.mixes))
            weight = np.float32(reranking.calibration)
            self.mix = ListMix(items.pairs, top.indices, mix.astype("float32"), weight)

    def chosen(self, k: int) -> TopK:
        """The lists."""
        picks = np.zeros((len(self.starts), k), "int64")
        there = np.zeros(picks.shape, bool)
        for place in range(k):
            now = self.value
            if self.likeness is not None:
                now = now - np.float32(self.wanted.diversity) * self.likeness.nearest
            if self.mix is not None:
                now = self.mix.added_to(now)
            picks[:, place] = now.argmax(axis=1)
            rows = self.starts + picks[:, place]
            there[:, place] = now.ravel()[rows] > -np.inf
            self._take(rows)
        indices, scores = (
            np.take_along_axis(each, picks, axis=1)
            for each in (self.top.indices, self.top.scores)
        )
        return TopK(
            np.where(there, indices, self.top.indices[:, :k]),
            np.where(there, scores, -np.inf).astype(scores.dtype),
            there.sum(axis=1),
        )

    def _take(self, rows: np.ndarray) -> None:
        """Puts a candidate of each user on his list; of no matter which of none left.

        Args:
            rows: (users,), which of all users' candidates, one after the other.
        """
        self.value.ravel()[rows] = -np.inf
        if self.likeness is not None:
            self.likeness.add(rows)
        if self.mix is not None:
            self.mix.add(rows)
        if self.caps is not None:
            self.value.ravel()[self.caps.add(rows)] = -np.inf


class Likeness:
    """How alike candidates are to what is on a list.

    Args:
        indices: (users, candidates) item indices.
        vectors: (items, width) float32 of length 1, or 0, CSR or dense.

    Attributes:
        nearest: (users, candidates) float32, the largest cosine with an item of the
            list; 0 as long as there is none.
    """

    def __init__(self, indices: np.ndarray, vectors: Matrix) -> None:
        own = vectors[indices.ravel()]
        dense = own.toarray() if sparse.issparse(own) else own
        dense = dense.reshape(*indices.shape, -1)
        cosines = np.matmul(dense, dense.transpose(0, 2, 1))
        self._cosines = cosines.reshape(-1, indices.shape[1])
        self.nearest = np.zeros(indices.shape, "float32")
        self._empty = True

    def add(self, rows: np.ndarray) -> None:
        """Puts a candidate on each list, see `Caps.add`."""
        of_pick = self._cosines[rows]
        if self._empty:
            self.nearest, self._empty = of_pick, False
        else:
            np.maximum(self.nearest, of_pick, out=self.nearest)


def _relevance(top: TopK) -> np.ndarray:
    """Scores brought to [0, 1] over each user's candidates."""
    scores = np.where(top.counted, top.scores, np.inf)
    lowest = scores.min(axis=1, keepdims=True)
    highest = np.where(top.counted, top.scores, -np.inf).max(axis=1, keepdims=True)
    span = highest - lowest
    with np.errstate(invalid="ignore"):
        found = (top.scores - lowest) / np.where(span > 0, span, 1)
    return np.where(top.counted & (span > 0), found, 1.0)
