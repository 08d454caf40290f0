"""The titles and labels of a version's items, and their search."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_multvae.data.vocabulary import PADDING
from keras_multvae.server.search import TitleIndex
from keras_multvae.serving.versions import CATALOGUE, CATALOGUE_VERSION
from keras_multvae.typing import Id


@dataclass(frozen=True)
class Labels:
    """A feature of the items by which they can be filtered.

    Attributes:
        name: What it is called.
        items: The indices of the items of each label, int32, rising; the label of most
            items first.

    Example:

    >>> genres = Labels.of_items("genres", ["Drama", "War"], [[0, 1], [], [1]])
    >>> {label: items.tolist() for label, items in genres.items.items()}
    {'War': [0, 2], 'Drama': [0]}
    """

    name: str
    items: dict[str, np.ndarray]

    @classmethod
    def of_items(
        cls, name: str, values: Sequence[str], columns: Sequence[Sequence[int]]
    ) -> Labels:
        """From the labels' places in `values` of each item."""
        having: list[list[int]] = [[] for _ in values]
        for item, places in enumerate(columns):
            for place in places:
                having[place].append(item)
        pairs = sorted(zip(values, having, strict=True), key=lambda pair: -len(pair[1]))
        return cls(name, {label: np.array(h, "int32") for label, h in pairs if h})


class Catalogue:
    """The items of a version: ids, as text, titles and labels.

    Args:
        kind: "str" or "int", the kind of the model's ids.
        ids: The ids, in the order of the model.
        titles: Their titles, or None to show the ids; a blank title is the id, too.
        prior: (num_items,) float, the scores for an empty history; search results are
            sorted by it. By default all are 0.
        log_probabilities: Whether scores are log-probabilities of items.
        labels: The features to filter by.

    Attributes:
        popular: (num_items,) int32, indices of the items, those of the highest prior
            first.

    Example:

    >>> titles = ["Amélie (2001)", "Alien (1979)", "Aliens (1986)", " "]
    >>> films = Catalogue("int", [3, 5, 8, 9], titles, np.array([0.1, 0.2, 0.6, 0.1]))
    >>> films.search("alien", 5)
    [{'id': '8', 'title': 'Aliens (1986)'}, {'id': '5', 'title': 'Alien (1979)'}]
    >>> films.search("2001 aml", 5)
    [{'id': '3', 'title': 'Amélie (2001)'}]
    >>> films.search("9", 5)
    [{'id': '9', 'title': '9'}]
    >>> Catalogue("str", ["a", "b"], ["Aliens", "Alien"]).search("alien", 1)
    [{'id': 'b', 'title': 'Alien'}]
    """

    def __init__(
        self,
        kind: str,
        ids: list[Id],
        titles: list[str] | None,
        prior: np.ndarray | None = None,
        *,
        log_probabilities: bool = False,
        labels: Sequence[Labels] = (),
    ) -> None:
        self.kind = kind
        self.ids = list(map(str, ids))
        named = zip(titles or self.ids, self.ids, strict=True)
        self._titles = [title.strip() or id_ for title, id_ in named]
        self._places = {id_: place for place, id_ in enumerate(self.ids)}
        self.prior = np.zeros(len(ids)) if prior is None else prior
        self.log_probabilities = log_probabilities
        self.labels = {each.name: each for each in labels}
        self.popular = np.argsort(-self.prior, kind="stable").astype("int32")
        # In that order, so that searches find the popular ones first.
        self._index = TitleIndex(self._titles[each] for each in self.popular.tolist())

    def __contains__(self, item: str) -> bool:
        return item in self._places

    def places(self, items: Iterable[str]) -> np.ndarray:
        """The indices of known items, int64."""
        return np.array([self._places[item] for item in items], "int64")

    def array(self, rows: list[list[str]]) -> np.ndarray:
        """Ids as an input of a signature, (rows, ids)."""
        return _array(self.kind, rows)

    def describe(self, item: object) -> dict[str, str]:
        """Id and title of an id in the model's output."""
        name = item.decode() if isinstance(item, bytes) else str(item)
        return {"id": name, "title": self._titles[self._places[name]]}

    def search(self, query: str, limit: int) -> list[dict[str, str]]:
        """The item of this id, and then titles as `TitleIndex.search` finds them.

        Args:
            query: An id, or words or beginnings of words; "" matches all titles.
            limit: Int, maximum number of titles.

        Returns:
            A list of dicts with `id` and `title`.
        """
        found = self.popular[self._index.search(query, limit)].tolist()
        named = self._places.get(query.strip())
        if named is not None:
            found = [named, *(each for each in found if each != named)][:limit]
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
                in self._places
                for each in given
            )
            unknown += len(given) - known
            empty += not known
        return unknown, empty


def read_catalogue(
    folder: Path, run: Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]
) -> Catalogue | None:
    """The catalogue of a version folder; None if it has none.

    Of a version from before there were labels, and before it said what scores are, the
    catalogue has none, and scores are no log-probabilities.

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
    return Catalogue(
        kind,
        ids,
        content["titles"],
        prior["scores"][0],
        log_probabilities=content.get("log_probabilities", False),
        labels=[
            Labels.of_items(each["name"], each["values"], each["items"])
            for each in content.get("labels", [])
        ],
    )


def _array(kind: str, rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """Ids, (rows, ids), as the SavedModel takes them."""
    if kind == "int":
        return np.array([[int(item) for item in row] for row in rows], "int64").reshape(
            len(rows), -1
        )
    array = np.empty((len(rows), len(rows[0])), object)
    array[:] = [[item.encode() for item in row] for row in rows]
    return array
