"""The titles of a version, and their search."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_multvae.data.vocabulary import PADDING
from keras_multvae.server.search import TitleIndex
from keras_multvae.serving.versions import CATALOGUE, CATALOGUE_VERSION
from keras_multvae.typing import Id


class Catalogue:
    """The items of a version: ids, as text, and titles.

    Args:
        kind: "str" or "int", the kind of the model's ids.
        ids: The ids, in the order of the model.
        titles: Their titles, or None to show the ids.
        weights: (num_items,) float; search results are sorted by it.

    Example:

    >>> titles = ["Amélie (2001)", "Alien (1979)", "Aliens (1986)"]
    >>> films = Catalogue("int", [3, 5, 8], titles, np.array([0.1, 0.2, 0.7]))
    >>> films.search("alien", 5)
    [{'id': '8', 'title': 'Aliens (1986)'}, {'id': '5', 'title': 'Alien (1979)'}]
    >>> films.search("2001 ame", 5)
    [{'id': '3', 'title': 'Amélie (2001)'}]
    >>> Catalogue("str", ["a", "b"], ["Aliens", "Alien"]).search("alien", 1)
    [{'id': 'b', 'title': 'Alien'}]
    """

    def __init__(
        self,
        kind: str,
        ids: list[Id],
        titles: list[str] | None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.kind = kind
        self.ids = list(map(str, ids))
        self.titles = dict(zip(self.ids, titles or self.ids, strict=True))
        weights = np.zeros(len(ids)) if weights is None else weights
        order = np.argsort(-weights, kind="stable")
        # In the order of their weights, so that searches find the heaviest first.
        self._order = order.astype("int32")
        self._index = TitleIndex(self.titles[self.ids[each]] for each in order.tolist())

    def __contains__(self, item: str) -> bool:
        return item in self.titles

    def array(self, rows: list[list[str]]) -> np.ndarray:
        """Ids as an input of a signature, (rows, ids)."""
        return _array(self.kind, rows)

    def describe(self, item: object) -> dict[str, str]:
        """Id and title of an id in the model's output."""
        name = item.decode() if isinstance(item, bytes) else str(item)
        return {"id": name, "title": self.titles.get(name, name)}

    def search(self, query: str, limit: int) -> list[dict[str, str]]:
        """Titles with words that begin with those of the query; an exact match first.

        Args:
            query: Words or beginnings of words, in any order; "" matches all titles.
            limit: Int, maximum number of titles.

        Returns:
            A list of dicts with `id` and `title`.
        """
        found = self._order[self._index.search(query, limit)].tolist()
        return [self.describe(self.ids[each]) for each in found]

    def count_unknown(self, ids: np.ndarray) -> tuple[int, int]:
        """The number of unknown ids in histories, and of rows without a known id.

        Args:
            ids: (rows, ids), an input of a signature; padding is ignored.
        """
        padding: Any = PADDING["int"]
        if self.kind == "str":
            padding = PADDING["str"].encode()
        unknown = empty = 0
        for row in ids.tolist():
            given = [each for each in row if each != padding]
            known = sum(
                (each.decode("utf-8", "replace") if self.kind == "str" else str(each))
                in self.titles
                for each in given
            )
            unknown += len(given) - known
            empty += not known
        return unknown, empty


def read_catalogue(
    folder: Path, run: Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]
) -> Catalogue | None:
    """The catalogue of a version folder; None if it has none.

    Titles are weighted by the scores for an empty history, so that searches find
    popular items first.

    Args:
        folder: The version folder.
        run: Runs its signatures: (signature, inputs) -> outputs.
    """
    path = folder / CATALOGUE
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["format_version"] > CATALOGUE_VERSION:
        raise ValueError(
            f"{path} has version {content['format_version']}; this keras_multvae reads "
            f"up to version {CATALOGUE_VERSION}. Install a newer keras_multvae."
        )
    kind, ids = content["kind"], content["ids"]
    candidates = _array(kind, [ids])
    prior = run("score", {"item_ids": candidates[:, :0], "candidates": candidates})
    return Catalogue(kind, ids, content["titles"], prior["scores"][0])


def _array(kind: str, rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """Ids, (rows, ids), as the SavedModel takes them."""
    if kind == "int":
        return np.array([[int(item) for item in row] for row in rows], "int64").reshape(
            len(rows), -1
        )
    array = np.empty((len(rows), len(rows[0])), object)
    array[:] = [[item.encode() for item in row] for row in rows]
    return array
