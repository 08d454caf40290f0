"""How strongly new items compete with the others, chosen on items that are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from keras_multvae.evaluation import CHOSEN_BY, values_of_top
from keras_multvae.ranking import TopK, top_k

# What is tried: how far a new item's vector is stretched from the mean of all, as a
# regression shrinks it towards that; and what is added to its logit.
SCALES = (1.0, 1.25, 1.5, 2.0)
SHIFTS = tuple(n / 8 for n in range(-12, 9))
# Places of a list, and the shares of users' lists that an item is held between: no new
# one is on more lists than 99 of 100 known ones.
PLACES, FEWEST_LISTS, MAX_LISTS = 100, 0.001, 0.99
# Times that known items stand for new ones, and the share of them that does.
FOLDS, LEAST_SHARE, MAX_SHARE = 3, 0.05, 0.2


class Calibration(NamedTuple):
    """How new items' logits are made from what a regression predicts.

    Args:
        scale: What a vector's distance from the mean is multiplied by.
        shift: What is added to a bias.
        warm_loss: The share of NDCG@100 that this costs the known items, measured on
            known items that stand for new ones; None where nobody could be asked.
        gain: The share by which NDCG@100 of all items rises, likewise.
    """

    scale: float = 1.0
    shift: float = 0.0
    warm_loss: float | None = None
    gain: float | None = None


@dataclass
class Audience:
    """Users by whom it is judged, and what the model says to them.

    Args:
        queries: (users, units), their vectors.
        logits: (users, items) float32, of the known items.
        seen: CSR (users, items), what is left out of a ranking.
        targets: CSR (users, items), what is to be found.
    """

    queries: np.ndarray
    logits: np.ndarray
    seen: sparse.csr_matrix
    targets: sparse.csr_matrix


@dataclass
class Predicted:
    """New items, or known ones that stand for some.

    Args:
        mean: (units,), the vector that items have on average.
        vectors: (new, units) as the regression predicts them.
        biases: (new,) likewise.
        path: (users, new), what the linear path adds to an audience's logits; 0 without
            one.
        places: (new,) indices of known items that are stood for; None for new ones.
    """

    mean: np.ndarray
    vectors: np.ndarray
    biases: np.ndarray
    path: np.ndarray | float = 0.0
    places: np.ndarray | None = None

    def stretched(self, scale: float) -> np.ndarray:
        """The vectors, further from the mean."""
        found: np.ndarray = self.mean + scale * (self.vectors - self.mean)
        return found


def calibrated(
    folds: Iterator[tuple[Audience, Predicted]], warm_loss: float
) -> Calibration:
    """The scale and the shift with the best NDCG@100 of all items within a budget.

    Args:
        folds: Audiences, and known items that stand for new ones to them.
        warm_loss: The share of the known items' NDCG@100 that may be lost.
    """
    warm, whole, before = [], [], []
    for audience, predicted in folds:
        found = _values(audience, predicted)
        if found is not None:
            reference, own, both = found
            before.append(reference)
            warm.append(own)
            whole.append(both)
    if not before:
        return Calibration()
    warm_before, all_before = np.array(before).sum(axis=0)
    losses = 1 - np.sum(warm, axis=0) / max(warm_before, 1e-12)
    gains = np.sum(whole, axis=0)
    allowed = losses <= max(warm_loss, losses.min())
    best = np.unravel_index(np.where(allowed, gains, -np.inf).argmax(), gains.shape)
    return Calibration(
        SCALES[best[0]],
        SHIFTS[best[1]],
        float(losses[best]),
        float(gains[best] / max(all_before, 1e-12) - 1),
    )


def _values(
    audience: Audience, predicted: Predicted
) -> tuple[tuple[float, float], np.ndarray, np.ndarray] | None:
    """NDCG@100 of the known items and of all: without the others, and for each choice.

    Sums over users; None where no target is left or nothing stands for a new item.
    """
    places = predicted.places
    assert places is not None
    stands = np.zeros(audience.logits.shape[1], bool)
    stands[places] = True
    own = sparse.csr_matrix(audience.targets @ sparse.diags_array(~stands * 1.0))
    own.eliminate_zeros()
    if own.nnz == 0 or own.nnz == audience.targets.nnz:
        return None
    with_own, with_any = np.diff(own.indptr) > 0, np.diff(audience.targets.indptr) > 0
    logits = audience.logits.copy()
    logits[:, places] = -np.inf
    lists = Lists(logits, audience.seen)
    # Nobody has seen what stands for a new item, so a list is made of the best others
    # and of these.
    others = top_k(logits, PLACES, audience.seen)
    items = np.concatenate([others.indices, np.tile(places, (len(logits), 1))], axis=1)

    def measured(new: np.ndarray) -> tuple[float, float]:
        top = top_k(np.concatenate([others.scores, new], axis=1), PLACES)
        indices = np.take_along_axis(items, top.indices, axis=1)
        valid = np.isfinite(top.scores).sum(axis=1)
        top = TopK(indices, top.scores, valid)
        return (
            values_of_top(CHOSEN_BY, top, own, with_own).sum(),
            values_of_top(CHOSEN_BY, top, audience.targets, with_any).sum(),
        )

    before = measured(np.full((len(logits), len(places)), -np.inf, "float32"))
    warm, whole = np.zeros((2, len(SCALES), len(SHIFTS)))
    for row, scale in enumerate(SCALES):
        personal = audience.queries @ predicted.stretched(scale).T + predicted.path
        bounds = lists.bounds(personal)
        for column, shift in enumerate(SHIFTS):
            biases = np.clip(predicted.biases + shift, *bounds)
            new = (personal + biases).astype("float32")
            warm[row, column], whole[row, column] = measured(new)
    return before, warm, whole


class Lists:
    """What it takes to be on users' lists, and how often known items are.

    Args:
        logits: (users, items) float32, -inf for items that there are not.
        seen: CSR (users, items), what is left out of a list.
    """

    def __init__(self, logits: np.ndarray, seen: sparse.csr_matrix) -> None:
        top = top_k(logits, min(PLACES, logits.shape[1]), seen)
        there = top.counted & np.isfinite(top.scores)
        self._last = np.where(there, top.scores, np.inf).min(axis=1)
        # Whoever has seen nearly all has room for everything.
        self._last[~np.isfinite(self._last)] = -np.inf
        counts = np.bincount(top.indices[there], minlength=logits.shape[1])
        on_lists = counts[np.isfinite(logits).any(axis=0)]
        self._most = float(np.quantile(on_lists, MAX_LISTS)) if len(on_lists) else 0.0

    def bounded(self, biases: np.ndarray, personal: np.ndarray) -> np.ndarray:
        """Biases with which no item is buried, nor on everybody's list.

        Args:
            biases: (new,).
            personal: (users, new), the logits without them.
        """
        found: np.ndarray = np.clip(biases, *self.bounds(personal))
        return found

    def bounds(self, personal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest bias of each item, see `bounded`."""
        users, new = personal.shape
        lower, upper = np.full((2, new), np.inf, "float32")
        lower = -lower
        if users and np.isfinite(self._last).any():
            needed = np.sort(self._last[:, None] - personal, axis=0).astype("float32")
            fewest = int(users * FEWEST_LISTS)
            # At this rank the item would be on one list more than it may be.
            upper = needed[min(max(round(self._most), fewest + 1), users - 1)]
            # By a rounding more than is needed, and less.
            upper = np.nextafter(upper, -np.inf, dtype="float32")
            if fewest:
                lower = np.nextafter(needed[fewest - 1], np.inf, dtype="float32")
        return lower, upper
