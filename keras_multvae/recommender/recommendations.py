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

    def to_pandas(self) -> Any:
        """A DataFrame with the columns user, rank (from 1), item, score and title."""
        import pandas as pd

        rows = [
            (user, rank, item, score, self.titles.get(item))
            for user, items, scores in zip(
                self.users, self.items, self.scores, strict=True
            )
            for rank, (item, score) in enumerate(
                zip(items.tolist(), scores.tolist(), strict=True), start=1
            )
        ]
        return pd.DataFrame(rows, columns=["user", "rank", "item", "score", "title"])

    def __str__(self) -> str:
        lines = []
        for user, (items, scores) in zip(self.users, self, strict=True):
            lines.append(f"user {user}:")
            for rank, (item, score) in enumerate(
                zip(items.tolist(), scores.tolist(), strict=True), start=1
            ):
                lines.append(f"{rank:>3}. {self.titles.get(item, item)}  ({score:.2f})")
        return "\n".join(lines)
