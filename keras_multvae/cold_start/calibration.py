"""How strongly new items compete with the others, chosen on items that are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse

from keras_multvae.evaluation import CHOSEN_BY, values_of_top
from keras_multvae.ranking import TopK, top_k

# What is tried: how far a new item's vector is stretched from the mean of all, as a
# regression shrinks it towards that; and what is added to its logit.
SCALES = (1.0, 1.25, 1.5, 2.0)
SHIFTS = tuple(n / 16 for n in range(-24, 17))
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
        warm_loss: The share of NDCG@100 that the new items cost the known ones, by the
            judges; None where nothing was chosen.
        gain: The share by which NDCG@100 of all items rises, measured on known items
            that stand for new ones, likewise.
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

    @cached_property
    def lists(self) -> Lists:
        """Their lists of the known items."""
        return Lists(self.logits, self.seen)


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


class Fold(NamedTuple):
    """Known items that stand for new ones, by their features.

    Args:
        audience: Judges who have not clicked them.
        predicted: The items.
        weights: (items,), how well each item is known; 0 for these.
        counts: (new,), clicks that each is to be shown with; None for none at all.
    """

    audience: Audience
    predicted: Predicted
    weights: np.ndarray
    counts: np.ndarray | None


def calibrated(
    folds: Iterator[tuple[Audience, Predicted]],
    audience: Audience,
    predicted: Predicted,
    warm_loss: float,
) -> Calibration:
    """The scale and the shift with the best NDCG@100 of all items within a budget.

    What is gained, known items tell that stand for new ones; what the new ones take
    from the known, they tell themselves.

    Args:
        folds: Audiences, and known items that stand for new ones to them.
        audience: All judges.
        predicted: The new items.
        warm_loss: The share of the known items' NDCG@100 that may be lost.
    """
    found = [each for each in (_gains(*fold) for fold in folds) if each is not None]
    if not found:
        return Calibration()
    before, whole = (np.sum(each, axis=0) for each in zip(*found, strict=True))
    losses = _losses(audience, predicted)
    allowed = losses <= max(warm_loss, losses.min())
    best = np.unravel_index(np.where(allowed, whole, -np.inf).argmax(), whole.shape)
    return Calibration(
        SCALES[best[0]],
        SHIFTS[best[1]],
        float(losses[best]),
        float(whole[best] / max(before, 1e-12) - 1),
    )


def _gains(audience: Audience, predicted: Predicted) -> tuple[float, np.ndarray] | None:
    """NDCG@100 of all items, summed over users: without the new ones, and each choice.

    None where no target is left or nothing stands for a new item.
    """
    places = predicted.places
    assert places is not None
    of_new = np.isin(audience.targets.indices, places)
    if of_new.all() or not of_new.any():
        return None
    logits = audience.logits.copy()
    logits[:, places] = -np.inf
    others = replace(audience, logits=logits)
    return _tried(others, audience.targets, predicted, places)


def _losses(audience: Audience, predicted: Predicted) -> np.ndarray:
    """The share of the known items' NDCG@100 that new items cost with each choice."""
    users, known = audience.logits.shape
    new = len(predicted.vectors)
    targets = sparse.csr_matrix(audience.targets, copy=True)
    targets.resize(users, known + new)
    places = np.arange(known, known + new)
    before, after = _tried(audience, targets, predicted, places)
    losses: np.ndarray = 1 - after / max(before, 1e-12)
    return losses


def _tried(
    audience: Audience,
    targets: sparse.csr_matrix,
    predicted: Predicted,
    places: np.ndarray,
) -> tuple[float, np.ndarray]:
    """NDCG@100 summed over users: without the new items, and with each choice.

    Args:
        audience: Its logits are of the others, -inf at `places`.
        targets: CSR (users, all items), what is to be found.
        predicted: The new items.
        places: (new,) their indices.
    """
    asked = np.diff(targets.indptr) > 0
    contest = Contest(audience.lists.top, places)
    before = values_of_top(CHOSEN_BY, contest.top(None), targets, asked).sum()
    after = np.zeros((len(SCALES), len(SHIFTS)))
    for row, scale in enumerate(SCALES):
        personal = audience.queries @ predicted.stretched(scale).T + predicted.path
        bounds = audience.lists.bounds(personal)
        for column, shift in enumerate(SHIFTS):
            biases = np.clip(predicted.biases + shift, *bounds)
            top = contest.top((personal + biases).astype("float32"))
            after[row, column] = values_of_top(CHOSEN_BY, top, targets, asked).sum()
    return float(before), after


class Contest:
    """Lists in which some items compete with all others, at scores that vary.

    Args:
        others: The best others: a list is made of them and of all that compete.
        places: (new,) int, the indices of what competes.
    """

    def __init__(self, others: TopK, places: np.ndarray) -> None:
        self._others = others
        new = np.tile(places, (len(others.indices), 1))
        self._items = np.concatenate([others.indices, new], axis=1)

    def top(self, new: np.ndarray | None) -> TopK:
        """The lists with these scores (users, new) float32; None for no competitors."""
        others = self._others.scores
        if new is None:
            width = self._items.shape[1] - others.shape[1]
            new = np.full((len(others), width), -np.inf, "float32")
        top = top_k(np.concatenate([others, new], axis=1), PLACES)
        indices = np.take_along_axis(self._items, top.indices, axis=1)
        return TopK(indices, top.scores, np.isfinite(top.scores).sum(axis=1))


class Lists:
    """What it takes to be on users' lists, and how often known items are.

    Args:
        logits: (users, items) float32, -inf for items that there are not.
        seen: CSR (users, items), what is left out of a list.

    Attributes:
        top: The lists.
    """

    def __init__(self, logits: np.ndarray, seen: sparse.csr_matrix) -> None:
        self.top = top = top_k(logits, PLACES, seen)
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
