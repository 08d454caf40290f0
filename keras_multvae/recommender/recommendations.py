"""What a recommender answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Recommendations:
    """Ranked items of one or more users; a list of them, best first.

    Args:
        users: User ids, or 0, 1, ... for histories.
        items: For each user an array of raw item ids; shorter than k where fewer items
            were left.
        scores: For each user a float32 array, as long as `items`.
        titles: Title by raw item id.
    """

    users: list[Any]
    items: list[np.ndarray]
    scores: list[np.ndarray]
    titles: dict[Any, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(items, scores) of a user."""
        return self.items[index], self.scores[index]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(self.items, self.scores, strict=True)

    def describe(self, index: int) -> str:
        """The ranking of a user as text: a line an item, by its title if it has one."""
        return "\n".join(
            f"{rank:>3}. {self.titles.get(item, item)}  ({score:.2f})"
            for rank, item, score in self._ranked(index)
        )

    def to_pandas(self) -> Any:
        """A DataFrame with the columns user, rank (from 1), item, score and title."""
        import pandas as pd

        rows = [
            (user, rank, item, score, self.titles.get(item))
            for index, user in enumerate(self.users)
            for rank, item, score in self._ranked(index)
        ]
        return pd.DataFrame(rows, columns=["user", "rank", "item", "score", "title"])

    def __str__(self) -> str:
        return "\n".join(
            f"user {user}:\n{self.describe(index)}"
            for index, user in enumerate(self.users)
        )

    def _ranked(self, index: int) -> Iterator[tuple[int, Any, float]]:
        """(rank from 1, item, score) of a user."""
        items, scores = self.items[index].tolist(), self.scores[index].tolist()
        return zip(range(1, len(items) + 1), items, scores, strict=True)
