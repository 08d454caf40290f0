"""Answers for the page: titles, recommendations with reasons, similar items."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_multvae.server.catalogue import Catalogue
from keras_multvae.server.servable import Servable
from keras_multvae.server.status import StatusError, invalid
from keras_multvae.typing import Json

SHOWN = 20  # recommendations
SIMILAR = 6
FOUND = 30  # titles of a search
REASONS, LEAST_CHANGE = 3, 0.005  # A smaller change is no reason.
MAX_PICKED = 200


def catalogue_of(servable: Servable) -> Catalogue:
    """The version's titles; `StatusError` if it has none."""
    if servable.catalogue is None:
        raise StatusError(
            "NOT_FOUND",
            "This version came without catalogue.json, which the page needs. Export "
            "it again with export_saved_model.",
        )
    return servable.catalogue


async def recommend(servable: Servable, body: object) -> Json:
    """Recommendations for picked items.

    Args:
        servable: The version that answers.
        body: {"picked": [ids], "niche": number in [0, 1]}.

    Returns:
        {"items": [{"id", "title", "score", "why": [{"id", "title", "change"}]}]}. A
        change is the decrease of the score without the picked item; the largest come
        first, and tiny ones are left out.

    Raises:
        StatusError: The body is not of that form.
    """
    catalogue = catalogue_of(servable)
    picked, niche = _picked(catalogue, body)
    found = await servable.batcher.submit(
        "discover",
        {
            "item_ids": catalogue.array([picked]),
            "k": np.array([SHOWN], "int32"),
            "niche": np.array([niche], "float32"),
        },
    )
    valid = int(found["valid"][0])
    items, scores = found["item_ids"][:1, :valid], found["scores"][0, :valid]
    changes = await _changes(servable, catalogue, picked, items)
    answer = []
    for place, item in enumerate(items[0].tolist()):
        best = np.argsort(-changes[:, place], kind="stable")[:REASONS]
        answer.append(
            {
                **catalogue.describe(item),
                "score": float(scores[place]),
                "why": [
                    {
                        **catalogue.describe(picked[index]),
                        "change": float(changes[index, place]),
                    }
                    for index in best
                    if changes[index, place] >= LEAST_CHANGE
                ],
            }
        )
    return {"items": answer}


async def _changes(
    servable: Servable, catalogue: Catalogue, picked: list[str], items: np.ndarray
) -> np.ndarray:
    """The decrease of each score without each picked item, (picked, items).

    The term niche * log p(i | nothing) does not change.
    """
    if not picked or not items.size:
        return np.zeros((len(picked), items.size), "float32")
    without = [picked[:i] + picked[i + 1 :] for i in range(len(picked))]
    width = len(picked)
    rows = [picked, *(_filled(row, width, catalogue.kind) for row in without)]
    scored = await servable.batcher.submit(
        "score",
        {
            "item_ids": catalogue.array(rows),
            "candidates": np.repeat(items, len(rows), axis=0),
        },
    )
    return scored["scores"][0] - scored["scores"][1:]


def _filled(row: list[str], width: int, kind: str) -> list[str]:
    """A row of ids, padded to a width."""
    return row + ["-1" if kind == "int" else ""] * (width - len(row))


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


def _picked(catalogue: Catalogue, body: Any) -> tuple[list[str], float]:
    """The known picked ids and the niche of a request's body."""
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
    return [item for item in dict.fromkeys(picked) if item in catalogue], float(niche)
