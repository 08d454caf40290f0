"""Answers for the page: titles, recommendations with reasons, similar items."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_multvae.server.catalogue import Catalogue
from keras_multvae.server.servable import Servable
from keras_multvae.server.status import StatusError, invalid
from keras_multvae.typing import Json

SHOWN = 20  # recommendations
SIMILAR = 6
FOUND = 30  # titles of a search
REASONS, LEAST_CHANGE = 3, 0.02  # A smaller change is no reason.
MAX_PICKED = 200
MAX_LABELS = 100  # of a feature, to choose from


def catalogue_of(servable: Servable) -> Catalogue:
    """The version's titles; `StatusError` if it has none."""
    if servable.catalogue is None:
        raise StatusError(
            "NOT_FOUND",
            "This version came without catalogue.json, which the page needs. Export "
            "it again with export_saved_model.",
        )
    return servable.catalogue


def describe(servable: Servable) -> Json:
    """Version, number of items, and what the page can show of it.

    Returns:
        {"version", "items", "log_probabilities": whether scores are, "labels": [{
        "name", "count": of labels, "largest": [{"label", "items"}]}]}.
    """
    catalogue = catalogue_of(servable)
    return {
        "version": servable.number,
        "items": len(catalogue.ids),
        "log_probabilities": catalogue.log_probabilities,
        "labels": [
            {
                "name": name,
                "count": len(each.items),
                "largest": [
                    {"label": label, "items": len(items)}
                    for label, items in list(each.items.items())[:MAX_LABELS]
                ],
            }
            for name, each in catalogue.labels.items()
        ],
    }


@dataclass(frozen=True)
class Wanted:
    """What a request asks for.

    Attributes:
        picked: The picked ids that the version knows.
        niche: Float in [0, 1], see the signature `discover`.
        allowed: (items,) the indices of the only items to show; None for all.
    """

    picked: list[str]
    niche: float
    allowed: np.ndarray | None


async def recommend(servable: Servable, body: object) -> Json:
    """Recommendations for picked items, and those for somebody who picked nothing.

    Args:
        servable: The version that answers.
        body: {"picked": [ids], "niche": number in [0, 1], "only": {"feature", "label"},
            for items with this label alone}; the last two may be left out.

    Returns:
        {"picked": [{"id", "title"}], "items": [{"id", "title", "score", "likelier",
        "why": [{"id", "title", "change"}]}], "popular": [{"id", "title", "likelier"}]}.
        `likelier` is p(item | picked) / p(item | nothing); null where scores are no
        log-probabilities, nothing is picked, or the item itself is. A change is the
        decrease of the score without the picked item; the largest come first, and tiny
        ones are left out.

    Raises:
        StatusError: The body is not of that form.
    """
    catalogue = catalogue_of(servable)
    wanted = _wanted(catalogue, body)
    items, scores = await _best(servable, catalogue, wanted)
    known = catalogue.popular
    if wanted.allowed is not None:
        known = known[_mask(catalogue, wanted.allowed)[known]]
    popular = [catalogue.ids[place] for place in known[:SHOWN].tolist()]
    scored = await _scores(servable, catalogue, wanted.picked, [*items, *popular])
    times = _likelier(catalogue, wanted.picked, [*items, *popular], scored[0])
    changes = scored[0] - scored[1:]
    return {
        "picked": [catalogue.describe(item) for item in wanted.picked],
        "items": [
            {
                **catalogue.describe(item),
                "score": score,
                "likelier": times[place],
                "why": _why(catalogue, wanted.picked, changes[:, place]),
            }
            for place, (item, score) in enumerate(zip(items, scores, strict=True))
        ],
        "popular": [
            {**catalogue.describe(item), "likelier": likelier}
            for item, likelier in zip(popular, times[len(items) :], strict=True)
        ],
    }


async def _best(
    servable: Servable, catalogue: Catalogue, wanted: Wanted
) -> tuple[list[str], list[float]]:
    """The best items outside the picked ones, and their scores, as `discover` ranks."""
    if wanted.allowed is None:
        found = await servable.batcher.submit(
            "discover",
            {
                "item_ids": catalogue.array([wanted.picked]),
                "k": np.array([SHOWN], "int32"),
                "niche": np.array([wanted.niche], "float32"),
            },
        )
        valid = int(found["valid"][0])
        ids = [catalogue.describe(i)["id"] for i in found["item_ids"][0, :valid]]
        return ids, found["scores"][0, :valid].tolist()
    picked = _mask(catalogue, catalogue.places(wanted.picked))
    allowed = wanted.allowed[~picked[wanted.allowed]]
    ids = [catalogue.ids[place] for place in allowed.tolist()]
    if not ids:
        return [], []
    scored = await _scores(servable, catalogue, wanted.picked, ids, changes=False)
    scores = scored[0] - np.float32(wanted.niche) * catalogue.prior[allowed]
    best = np.argsort(-scores, kind="stable")[:SHOWN].tolist()
    return [ids[place] for place in best], scores[best].tolist()


def _mask(catalogue: Catalogue, places: np.ndarray) -> np.ndarray:
    """Which items these are: (items,) bool."""
    mask = np.zeros(len(catalogue.ids), bool)
    mask[places] = True
    return mask


async def _scores(
    servable: Servable,
    catalogue: Catalogue,
    picked: list[str],
    items: list[str],
    changes: bool = True,
) -> np.ndarray:
    """The scores of items for the picked ones, and without each: (1 + picked, items).

    Without `changes` it is the first row alone.
    """
    without = [picked[:i] + picked[i + 1 :] for i in range(len(picked))]
    rows = [picked, *(_filled(row, len(picked), catalogue.kind) for row in without)]
    rows = rows if changes else rows[:1]
    # In a thread, as all items of a large catalogue take a while.
    candidates = await asyncio.to_thread(catalogue.array, [items])
    found = await servable.batcher.submit(
        "score",
        {
            "item_ids": catalogue.array(rows),
            "candidates": np.repeat(candidates, len(rows), axis=0),
        },
    )
    return found["scores"]


def _filled(row: list[str], width: int, kind: str) -> list[str]:
    """A row of ids, padded to a width."""
    return row + ["-1" if kind == "int" else ""] * (width - len(row))


def _likelier(
    catalogue: Catalogue, picked: list[str], items: list[str], scores: np.ndarray
) -> list[float | None]:
    """How many times likelier each item is than for an empty history, where known."""
    if not catalogue.log_probabilities or not picked:
        return [None] * len(items)
    more = scores.astype("float64") - catalogue.prior[catalogue.places(items)]
    pairs = zip(items, more.tolist(), strict=True)
    return [None if item in picked else math.exp(each) for item, each in pairs]


def _why(catalogue: Catalogue, picked: list[str], changes: np.ndarray) -> list[Json]:
    """The picks whose absence changes a score most."""
    best = np.argsort(-changes, kind="stable")[:REASONS].tolist()
    return [
        {**catalogue.describe(picked[place]), "change": float(changes[place])}
        for place in best
        if changes[place] >= LEAST_CHANGE
    ]


async def similar(servable: Servable, item: str) -> Json:
    """The items most similar to one: {"items": [{"id", "title", "score"}]}."""
    catalogue = catalogue_of(servable)
    if item not in catalogue:
        raise StatusError("NOT_FOUND", f"There is no item {item[:200]!r}.")
    found = await servable.batcher.submit(
        "similar_items", {"item_ids": catalogue.array([[item]])[0]}
    )
    shown = min(int(found["valid"][0]), SIMILAR)
    pairs = zip(
        found["item_ids"][0, :shown].tolist(),
        found["scores"][0, :shown].tolist(),
        strict=True,
    )
    return {
        "items": [{**catalogue.describe(each), "score": score} for each, score in pairs]
    }


def search(servable: Servable, query: str) -> Json:
    """Titles for a query, popular ones first: {"items": [{"id", "title"}]}."""
    return {"items": catalogue_of(servable).search(query, FOUND)}


def _wanted(catalogue: Catalogue, body: Any) -> Wanted:
    """What a request's body asks for."""
    picked = body.get("picked") if isinstance(body, dict) else None
    if not isinstance(picked, list) or not all(isinstance(i, str) for i in picked):
        raise invalid('"picked" must be a list of item ids, as strings.')
    if len(picked) > MAX_PICKED:
        raise invalid(f'"picked" holds {len(picked)} items; {MAX_PICKED} are the most.')
    niche = body.get("niche", 0)
    if isinstance(niche, bool) or not isinstance(niche, int | float):
        raise invalid('"niche" must be a number from 0 to 1.')
    if not 0 <= niche <= 1:
        raise invalid(f'"niche" must be from 0 to 1. Received: {niche}.')
    # Ids may be of an earlier version, so unknown ones are ignored.
    known = [item for item in dict.fromkeys(picked) if item in catalogue]
    return Wanted(known, float(niche), _allowed(catalogue, body.get("only")))


def _allowed(catalogue: Catalogue, only: Any) -> np.ndarray | None:
    """The indices of the items with a label; None for all items."""
    if only is None:
        return None
    fields = only if isinstance(only, dict) else {}
    feature, label = fields.get("feature"), fields.get("label")
    if not isinstance(feature, str) or not isinstance(label, str):
        raise invalid('"only" must be {"feature": a name, "label": one of its labels}.')
    labels = catalogue.labels.get(feature)
    if labels is None or label not in labels.items:
        raise invalid(
            f"No item of this version has the {feature[:200]} {label[:200]!r}."
        )
    return labels.items[label]
