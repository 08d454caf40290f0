"""The result of a recommendation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from keras_multvae.data.vocabulary import PADDING
from keras_multvae.ranking import TopK
from keras_multvae.recommender.reasons import Reason, Reasons
from keras_multvae.tables import ShowsTable, Table, ToFrames
from keras_multvae.typing import Column, Id, Json, Titles

# Users and items of each that are shown.
MAX_USERS, MAX_ITEMS = 3, 10


class Recommendations(ShowsTable, ToFrames):
    """Ranked items of one or more users, best first; one entry for each user.

    As a data frame it has a row for each rank of each user: user_id, rank (from 1),
    item_id, score and title. For items similar to others it is "similar_to" in place
    of user_id.

    Args:
        users: User ids, or 0, 1, ... for histories.
        top: `TopK` of these users, in item indices.
        item_ids: (num_items,) raw ids by item index.
        titles: Title by raw item id.
        reasons: Optional, the reasons for these items.
        column: What `users` are, as tables call it: "user_id", or "similar_to" for
            items whose similar ones these are.

    Attributes:
        users: As given.
        items: For each user an array of raw item ids, at most k.
        scores: For each user a float32 array, as long as `items`.
        titles: As given.
        reasons: For each user and item a list of `Reason`s, the strongest first: an
            `item` of the history, and the `change`, by which the score decreases
            without it, at least 0.005. None unless requested.

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
        users: list[Id],
        top: TopK,
        item_ids: np.ndarray,
        titles: Titles | None = None,
        reasons: Reasons | None = None,
        column: Literal["user_id", "similar_to"] = "user_id",
    ) -> None:
        self.users = users
        self.items = _Rows(top.indices, top.valid, item_ids)
        self.scores = _Rows(top.scores, top.valid)
        self.titles: dict[Id, str] = dict(titles.items()) if titles else {}
        self.reasons = None
        if reasons is not None:
            self.reasons = _ReasonsOfUsers(reasons, top.valid, item_ids)
        self._top = top
        self._item_ids = item_ids
        self._column = column

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The items and scores of a user."""
        return self.items[index], self.scores[index]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(self.items, self.scores, strict=True)

    def describe(self, index: int, k: int | None = None) -> str:
        """The ranking of a user as text: a line for each item and for its reasons.

        Args:
            index: Which of the users.
            k: Optional int, how many items to describe; all by default.
        """
        items = self.items[index][:k].tolist()
        scores = self.scores[index][:k].tolist()
        lines = []
        for place, (item, score) in enumerate(zip(items, scores, strict=True)):
            lines.append(f"{place + 1:>3}. {self.name(item)}  ({score:.2f})")
            reasons = [] if self.reasons is None else self.reasons[index][place]
            if reasons:
                words = (f"{self.name(r.item)} ({r.change:+.2f})" for r in reasons)
                lines.append(f"     because of {', '.join(words)}")
        return "\n".join(lines)

    def to_dict(self, index: int) -> Json:
        """The ranking of a user as JSON.

        Returns:
            {"item_ids": [ids], "titles": [texts, or None], "scores": [numbers]} and,
            where there are any, "reasons": for each item a list of {"item_id", "title",
            "change"}.

        Example:

        >>> top = TopK(np.array([[1]]), np.array([[0.5]], "float32"), np.array([1]))
        >>> Recommendations([0], top, np.array([10, 20]), {20: "Alien"}).to_dict(0)
        {'item_ids': [20], 'titles': ['Alien'], 'scores': [0.5]}
        """
        items = self.items[index].tolist()
        found = {
            "item_ids": items,
            "titles": [self.titles.get(item) for item in items],
            "scores": self.scores[index].tolist(),
        }
        if self.reasons is not None:
            found["reasons"] = [
                [
                    {
                        "item_id": r.item,
                        "title": self.titles.get(r.item),
                        "change": r.change,
                    }
                    for r in reasons
                ]
                for reasons in self.reasons[index]
            ]
        return found

    def name(self, item: Id) -> str:
        """An item as text: its title, if any, and its id.

        Example:

        >>> top = TopK(np.zeros((0, 1), int), np.zeros((0, 1)), np.zeros(0, int))
        >>> Recommendations([], top, np.array([7, 8]), {7: "Alien"}).name(7)
        'Alien [7]'
        """
        title = self.titles.get(item)
        return str(item) if title is None else f"{title} [{item}]"

    def to_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All rankings as arrays, one row for each user.

        Returns:
            `users` (n,); `items` (n, k) raw ids, filled up with -1 or ""; `scores`
            (n, k) float32, filled up with -inf; `valid` (n,) int64, how many of the k
            count.
        """
        items = self._item_ids[self._top.indices]
        items[~self._counted] = PADDING["int" if items.dtype.kind == "i" else "str"]
        return np.array(self.users), items, self._top.scores, self._top.valid

    def _columns(self) -> dict[str, Column]:
        row, place = np.nonzero(self._counted)
        items = self._item_ids[self._top.indices[row, place]]
        return {
            self._column: np.array(self.users)[row],
            "rank": place + 1,
            "item_id": items,
            "score": self._top.scores[row, place],
            "title": [self.titles.get(item) for item in items.tolist()],
        }

    def __str__(self) -> str:
        return self._text(len(self))

    def __repr__(self) -> str:
        return f"{self._summary}\n{self._text(MAX_USERS, MAX_ITEMS)}".rstrip()

    def _text(self, users: int, items: int | None = None) -> str:
        """The rankings of the first users, as `describe` has them."""
        return "\n".join(
            f"{self._asked(user).removeprefix('for ')}:\n{self.describe(index, items)}"
            for index, user in enumerate(self.users[:users])
        )

    def _asked(self, user: Id) -> str:
        """A user, or an item whose similar ones these are, as text."""
        similar = self._column == "similar_to"
        return f"similar to {self.name(user)}" if similar else f"for user {user}"

    @property
    def _summary(self) -> str:
        if len(self) == 1:
            return f"Recommendations {self._asked(self.users[0])}"
        asked = "items" if self._column == "similar_to" else "users"
        shown = f" (the first {MAX_USERS} shown)" if len(self) > MAX_USERS else ""
        return f"Recommendations for {len(self):,} {asked}{shown}"

    def _table(self) -> Table:
        """The first rankings, for notebooks."""
        rows: list[list[object]] = []
        for index, user in enumerate(self.users[:MAX_USERS]):
            rows += self._rows(index, user)
        heading = [self._column, "rank", "item_id", "title", "score", "reasons"]
        # Columns that say nothing: a single user, titles and reasons that are missing.
        needed = [len(self) > 1, True, True, bool(self.titles), True]
        needed.append(self.reasons is not None)
        picked = [place for place, needs in enumerate(needed) if needs]
        return Table(
            [heading[place] for place in picked],
            [[row[place] for place in picked] for row in rows],
            self._summary,
        )

    def _rows(self, index: int, user: Id) -> Iterator[list[object]]:
        """The first items of a user: the cells of `_table`."""
        ids = self.items[index][:MAX_ITEMS].tolist()
        scores = self.scores[index][:MAX_ITEMS].tolist()
        reasons = [()] * len(ids) if self.reasons is None else self.reasons[index]
        for place, (item, score) in enumerate(zip(ids, scores, strict=True)):
            why = (
                f"{self.titles.get(r.item, r.item)} ({r.change:+.2f})"
                for r in reasons[place]
            )
            title = self.titles.get(item, "")
            yield [user, place + 1, item, title, f"{score:.3f}", "; ".join(why)]

    @property
    def _counted(self) -> np.ndarray:
        """(users, k) bools, which ranks exist."""
        return self._top.counted


class _ByUser(Sequence):
    """What is made on access, user by user."""

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._of(index)

    def _of(self, index: int) -> object:
        raise NotImplementedError

    def __repr__(self) -> str:
        more = f" and {len(self) - MAX_USERS} more" if len(self) > MAX_USERS else ""
        return f"{self[:MAX_USERS]}{more}"


class _Rows(_ByUser):
    """The rows of an array, each truncated to its length."""

    def __init__(
        self, array: np.ndarray, lengths: np.ndarray, names: np.ndarray | None = None
    ) -> None:
        self._array = array
        self._lengths = lengths
        self._names = names

    def __len__(self) -> int:
        return len(self._array)

    def _of(self, index: int) -> np.ndarray:
        row = self._array[index, : self._lengths[index]]
        return row if self._names is None else self._names[row]


class _ReasonsOfUsers(_ByUser):
    """The reasons of each user's items as lists."""

    def __init__(
        self, reasons: Reasons, lengths: np.ndarray, item_ids: np.ndarray
    ) -> None:
        self._reasons, self._lengths, self._item_ids = reasons, lengths, item_ids

    def __len__(self) -> int:
        return len(self._lengths)

    def _of(self, index: int) -> list[list[Reason]]:
        indices, changes, valid = (each[index] for each in self._reasons)
        return [
            [
                Reason(item, change)
                for item, change in zip(
                    self._item_ids[indices[place, : valid[place]]].tolist(),
                    changes[place, : valid[place]].tolist(),
                    strict=True,
                )
            ]
            for place in range(self._lengths[index])
        ]
