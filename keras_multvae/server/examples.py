"""Example histories for the page, made up by the model: nobody's."""

from __future__ import annotations

import numpy as np

from keras_multvae.server.page import catalogue_of
from keras_multvae.server.servable import Servable
from keras_multvae.typing import Json

# Popular items that examples are made of, examples, and the items of each.
POPULAR, EXAMPLES, LENGTH = 80, 4, 4


async def examples(servable: Servable) -> Json:
    """A few histories of popular items that make each other likely.

    They come from the model and the popularity of the items alone, so nobody's history
    is told. They are made when first asked for.

    Returns:
        {"examples": [[{"id", "title"}]]}, the most popular first.
    """
    if servable.examples is None:
        servable.examples = await _made_up(servable)
    return {"examples": servable.examples}


async def _made_up(servable: Servable) -> list[list[dict[str, str]]]:
    catalogue = catalogue_of(servable)
    places = catalogue.popular[:POPULAR]
    popular = [catalogue.ids[place] for place in places.tolist()]
    found = await servable.batcher.submit(
        "score",
        {
            "item_ids": catalogue.array([[item] for item in popular]),
            "candidates": catalogue.array([popular] * len(popular)),
        },
    )
    groups = groups_of(found["scores"] - catalogue.prior[places], EXAMPLES, LENGTH)
    return [[catalogue.describe(popular[each]) for each in group] for group in groups]


def groups_of(likelier: np.ndarray, count: int, length: int) -> list[list[int]]:
    """Groups of items that make each other likely; no item is in two of them.

    Args:
        likelier: (items, items), by how much the row's item raises the column's score.
        count: Int, groups, at most.
        length: Int >= 2, items of a group.

    Returns:
        The groups; the one with the first item comes first.

    Example:

    >>> likelier = np.array([[0, 1, 5, 1], [1, 0, 1, 4], [5, 1, 0, 1], [1, 4, 1, 0]])
    >>> groups_of(likelier, 2, 2)
    [[0, 2], [1, 3]]
    """
    together = (likelier + likelier.T).astype("float64")
    np.fill_diagonal(together, -np.inf)
    groups = []
    for _ in range(min(count, len(together) // length)):
        nearest = np.sort(together, axis=1)[:, 1 - length :]
        first = int(nearest.sum(axis=1).argmax())
        others = np.argsort(-together[first], kind="stable")[: length - 1]
        group = sorted([first, *others.tolist()])
        groups.append(group)
        together[group] = together[:, group] = -np.inf
    return sorted(groups)
