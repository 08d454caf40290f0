"""What a recommender answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_multvae.data.vocabulary import PADDING
from keras_multvae.ranking import TopK


class Recommendations:
    """Ranked items of one or more users; a list of them, best first.

    Args:
        users: User ids, or 0, 1, ... for histories.
        top: `TopK` of these users, in item indices.
        item_ids: (num_items,) raw ids by item index.
        titles: Title by raw item id.

    Attributes:
        users: As given.
        items: For each user an array of raw item ids; shorter than k where fewer items
            were left.
        scores: For each user a float32 array, as long as `items`.
        titles: As given.

    Example:

    >>> scores = np.array([[0.5, -np.inf]], "float32")
    >>> top = TopK(np.array([[2, 0]]), scores, np.array([1]))
    >>> found = Recommendations(["ann"], top, np.array([10, 20, 30]))
    >>> found.items[0].tolist(), found.scores[0].tolist()
    ([30], [0.5])
    >>> found.to_arrays()[1]
    array([[30, -1]])
    """

    def __init__(
        self,
        users: list[Any],
        top: TopK,
        item_ids: np.ndarray,
        titles: Mapping[Any, str] | None = None,
    ) -> None:
        self.users = users
        self.items = _Rows(top.indices, top.valid, item_ids)
        self.scores = _Rows(top.scores, top.valid)
        self.titles = {} if titles is None else titles
        self._top = top
        self._item_ids = item_ids

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(items, scores) of a user."""
        return self.items[index], self.scores[index]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(self.items, self.scores, strict=True)

    def describe(self, index: int) -> str:
        """The ranking of a user as text: a line an item, by its title if it has one."""
        items, scores = self.items[index].tolist(), self.scores[index].tolist()
        return "\n".join(
            f"{rank:>3}. {self.titles.get(item, item)}  ({score:.2f})"
            for rank, (item, score) in enumerate(zip(items, scores, strict=True), 1)
        )

    def to_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Everything as arrays, a row a user.

        Returns:
            `users` (n,); `items` (n, k) raw ids, filled up with -1 or ""; `scores`
            (n, k) float32, filled up with -inf; `valid` (n,) int64, how many of the k
            count.
        """
        items = self._item_ids[self._top.indices]
        items[~self._counted] = PADDING["int" if items.dtype.kind == "i" else "str"]
        return np.array(self.users), items, self._top.scores, self._top.valid

    def to_pandas(self) -> Any:
        """A DataFrame with the columns user, rank (from 1), item, score and title."""
        import pandas as pd

        row, place = np.nonzero(self._counted)
        items = self._item_ids[self._top.indices[row, place]]
        return pd.DataFrame(
            {
                "user": np.array(self.users)[row],
                "rank": place + 1,
                "item": items,
                "score": self._top.scores[row, place],
                "title": [self.titles.get(item) for item in items.tolist()],
            }
        )

    def __str__(self) -> str:
        return "\n".join(
            f"user {user}:\n{self.describe(index)}"
            for index, user in enumerate(self.users)
        )

    @property
    def _counted(self) -> np.ndarray:
        """(users, k), which ranks there are."""
        return self._top.counted


def as_titles(titles: Any) -> dict[Any, str]:
    """Titles by raw item id, of the types that files hold.

    Args:
        titles: None, a mapping or a pandas Series; ids may be NumPy's. An item whose
            title is None or NaN has none.

    Raises:
        TypeError: Neither, or a title that is no text.
    """
    if titles is None:
        return {}
    if not (isinstance(titles, Mapping) or hasattr(titles, "items")):
        raise TypeError(
            "`titles` must be a dict from item ids to titles, or a pandas Series with "
            f"the ids as its index. Received: {type(titles).__name__}."
        )
    found = {}
    for item, title in titles.items():
        # NaN alone is unlike itself: pandas' mark of what is missing.
        if title is None or title != title:
            continue
        if not isinstance(title, str):
            raise TypeError(f"Titles must be text. Received: {title!r} for {item!r}.")
        found[item.item() if isinstance(item, np.generic) else item] = str(title)
    return found


class _Rows(Sequence):
    """The rows of an array, each cut to its length; made when they are asked for."""

    def __init__(
        self, array: np.ndarray, lengths: np.ndarray, names: np.ndarray | None = None
    ) -> None:
        self._array = array
        self._lengths = lengths
        self._names = names

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._array[index, : self._lengths[index]]
        return row if self._names is None else self._names[row]
