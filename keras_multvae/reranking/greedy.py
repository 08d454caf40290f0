"""Place by place, for many users at a time."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.evaluation.beyond_accuracy import SMOOTHING, Catalogue, mix_of
from keras_multvae.ranking import TopK
from keras_multvae.reranking.settings import Reranking

# Users at a time: their candidates' cosines stay in the cache.
BLOCK = 128


def reranked(
    top: TopK,
    k: int,
    reranking: Reranking,
    items: Catalogue,
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
        items: Catalogue,
        history: sparse.csr_matrix,
    ) -> None:
        self.top, self.wanted = top, reranking
        users, count = top.indices.shape
        self.users, self.count = np.arange(users), count
        share = 1 - reranking.diversity - reranking.calibration
        self.value = np.where(top.counted, share * _relevance(top), -np.inf)
        self.value = self.value.astype("float32")
        if reranking.diversity:
            self.cosines = _cosines(top.indices, items)
            self.nearest = np.zeros((users, count), "float32")
        if reranking.by is not None:
            self._take_labels(items, history)

    def _take_labels(self, items: Catalogue, history: sparse.csr_matrix) -> None:
        """The labels of all candidates, entry after entry, as CSR has them."""
        flat = self.top.indices.ravel()
        own = items.mixes[flat]
        rows = np.repeat(np.arange(len(flat)), np.diff(own.indptr))
        self.entries = rows, rows // self.count, own.indices
        self.amounts = own.data.astype("float32")
        self.starts = own.indptr
        labels = own.shape[1]
        self.on_list = np.zeros((len(self.users), labels), "float32")
        self.times = np.zeros((len(self.users), labels), "int32")
        mix = np.nan_to_num(mix_of(history, items.mixes)).astype("float32")
        self.mix = mix
        self.labelled = np.zeros(len(self.users), "float32")

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
                now = now + np.float32(self.wanted.calibration) * self._mix_gains()
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
        if self.wanted.by is None:
            return
        rows = (self.users * self.count + pick)[there]
        lengths = np.diff(self.starts)[rows]
        places = np.repeat(self.starts[rows] - np.cumsum(lengths) + lengths, lengths)
        places = places + np.arange(lengths.sum())
        _, owners, labels = (each[places] for each in self.entries)
        self.on_list[owners, labels] += self.amounts[places]
        self.times[owners, labels] += 1
        self.labelled[self.users[there]] += lengths > 0
        if self.wanted.at_most is not None:
            rows, owners, labels = self.entries
            full = (self.times >= self.wanted.at_most)[owners, labels]
            self.value.ravel()[rows[full]] = -np.inf

    def _mix_gains(self) -> np.ndarray:
        """Minus the KL of a list with each candidate, but for p log p, (users, n).

        sum_l p_l log((1 - a) q_l + a p_l), of which a candidate changes the terms of
        its own labels alone.
        """
        _, owners, labels = self.entries
        kept, small = np.float32(1 - SMOOTHING), np.float32(SMOOTHING) * self.mix
        some = np.maximum(small, np.finfo("float32").tiny)
        # Where the candidate has labels, and where it has none.
        sizes = (self.labelled + 1)[:, None]
        with_one = np.log(kept * self.on_list / sizes + some)
        amounts = (self.on_list[owners, labels] + self.amounts) * (
            kept / (self.labelled + 1)
        )[owners]
        terms = np.log(amounts + some[owners, labels]) - with_one[owners, labels]
        terms *= self.mix[owners, labels]
        padded = np.append(terms, np.float32(0))
        ends = self.starts
        gains = np.add.reduceat(padded, np.minimum(ends[:-1], len(terms)))
        has = np.diff(ends) > 0
        base = (self.mix * with_one).sum(axis=1)
        sizes = np.maximum(self.labelled, 1)[:, None]
        without = (self.mix * np.log(kept * self.on_list / sizes + some)).sum(axis=1)
        shape = self.value.shape
        gains = np.where(has, gains, 0).reshape(shape) + base[:, None]
        return np.where(has.reshape(shape), gains, without[:, None])


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
