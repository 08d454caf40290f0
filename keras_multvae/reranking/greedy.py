"""Place by place, for many users at a time."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.ranking import TopK
from keras_multvae.ranking.catalogue import Catalogue, mix_of
from keras_multvae.reranking.labels import Labels, ListMix
from keras_multvae.reranking.settings import Items, Reranking

# Users at a time: what is read for each place stays in the cache.
BLOCK = 256


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
        self.users, self.count = np.arange(users), count
        share = 1 - reranking.diversity - reranking.calibration
        self.value = np.where(top.counted, share * _relevance(top), -np.inf)
        self.value = self.value.astype("float32")
        if reranking.diversity:
            self.cosines = _cosines(top.indices, items.catalogue)
            self.nearest = np.zeros((users, count), "float32")
        self.labels = None
        if reranking.at_most is not None:
            self.labels = Labels(top.indices, items.catalogue.mixes)
        if reranking.calibration:
            mix = np.nan_to_num(mix_of(history, items.catalogue.mixes))
            self.mix = ListMix(items.pairs, top.indices, mix.astype("float32"))

    def chosen(self, k: int) -> TopK:
        """The lists."""
        indices = np.zeros((len(self.users), k), "int64")
        scores = np.full((len(self.users), k), -np.inf, self.top.scores.dtype)
        valid = np.zeros(len(self.users), "int64")
        fallback = self.top.indices[:, :k]
        for place in range(k):
            now = self.value
            if self.wanted.diversity and place:
                now = now - np.float32(self.wanted.diversity) * self.nearest
            if self.wanted.calibration:
                now = now + np.float32(self.wanted.calibration) * self.mix.gains()
            pick = now.argmax(axis=1)
            there = now[self.users, pick] > -np.inf
            indices[:, place] = np.where(
                there, self.top.indices[self.users, pick], fallback[:, place]
            )
            scores[there, place] = self.top.scores[self.users, pick][there]
            valid += there
            self._take(pick, there, first=place == 0)
        return TopK(indices, scores, valid)

    def _take(self, pick: np.ndarray, there: np.ndarray, first: bool) -> None:
        """Puts a candidate of each user on his list."""
        self.value[self.users, pick] = -np.inf
        if self.wanted.diversity:
            of_pick = self.cosines[self.users, pick]
            if first:
                self.nearest = of_pick
            else:
                np.maximum(self.nearest, of_pick, out=self.nearest)
        if self.wanted.calibration:
            self.mix.add(self.users[there], pick[there])
        if self.labels is not None:
            assert self.wanted.at_most is not None
            entries = self.labels.entries_of(self.users[there], pick[there])
            full = self.labels.count(entries, self.wanted.at_most)
            self.value.ravel()[full] = -np.inf


def _relevance(top: TopK) -> np.ndarray:
    """Scores brought to [0, 1] over each user's candidates."""
    scores = np.where(top.counted, top.scores, np.inf)
    lowest = scores.min(axis=1, keepdims=True)
    highest = np.where(top.counted, top.scores, -np.inf).max(axis=1, keepdims=True)
    span = highest - lowest
    with np.errstate(invalid="ignore"):
        found = (top.scores - lowest) / np.where(span > 0, span, 1)
    return np.where(top.counted & (span > 0), found, 1.0)


def _cosines(indices: np.ndarray, items: Catalogue) -> np.ndarray:
    """Of all pairs of each user's candidates, float32 (users, count, count)."""
    users, count = indices.shape
    if not sparse.issparse(items.unit_vectors):
        vectors = items.unit_vectors.astype("float32", copy=False)[indices]
        return np.matmul(vectors, vectors.transpose(0, 2, 1))
    rows = items.unit_vectors[indices.ravel()]
    dense = np.asarray(rows.toarray(), "float32").reshape(users, count, -1)
    return np.matmul(dense, dense.transpose(0, 2, 1))
