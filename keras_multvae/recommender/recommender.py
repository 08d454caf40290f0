"""Recommends by raw ids."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import sparse

from keras_multvae.data import Interactions, Vocabulary
from keras_multvae.files import DamagedFileError
from keras_multvae.ranking import top_k
from keras_multvae.recommender import storage
from keras_multvae.recommender.recommendations import Recommendations

OnUnknown = Literal["raise", "skip"]


class Recommender:
    """Recommends items by their own ids, with a trained model.

    Args:
        model: A `MultVAE`, `MultDAE` or a baseline.
        items: `Vocabulary` of the model's items, in its order.
        histories: Optional `Interactions` over the same items: what `user_ids` look
            up. Kept by `save`.
        titles: Optional title by raw item id, for display.

    Raises:
        ValueError: A model with another number of items than the vocabulary.

    Example:

    >>> from keras_multvae import Popularity, Recommender
    >>> from keras_multvae.data import Interactions
    >>> clicks = Interactions.from_events([1, 1, 2, 2, 2], list("abbac"))
    >>> model = Popularity(clicks.num_items).fit(clicks)
    >>> recommender = Recommender(model, clicks.items, histories=clicks)
    >>> recommender.recommend(["a"], k=2).items[0].tolist()
    ['b', 'c']
    >>> recommender.recommend(user_ids=[1]).items[0].tolist()
    ['c']
    """

    def __init__(
        self,
        model: Any,
        items: Vocabulary,
        *,
        histories: Interactions | None = None,
        titles: Mapping[Any, str] | None = None,
    ) -> None:
        if model.num_items != len(items):
            raise ValueError(
                f"The model ranks {model.num_items} items, the vocabulary has "
                f"{len(items)}: they do not belong together."
            )
        if histories is not None and histories.items != items:
            raise ValueError("`histories` must have the items of the recommender.")
        self.model = model
        self.items = items
        self.histories = histories
        self.titles = dict(titles or {})

    def recommend(
        self,
        histories: Any = None,
        *,
        user_ids: Sequence[Any] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        allow: Iterable[Any] | None = None,
        deny: Iterable[Any] | None = None,
        on_unknown: OnUnknown = "raise",
        batch_size: int = 500,
    ) -> Recommendations:
        """Ranks the items for users given by their histories or ids.

        Args:
            histories: A list of raw item ids, a dict from ids to counts, or a list of
                either, one a user. An empty history gets the ranking for a user of
                whom nothing is known.
            user_ids: In place of `histories`: users whose stored histories to take.
            k: Int >= 1, items a user; users with fewer left get fewer.
            exclude_seen: Bool, whether to leave out the items of the history.
            allow: Optional raw ids; no other items are recommended.
            deny: Optional raw ids that are never recommended.
            on_unknown: "raise" or "skip" item ids that the model does not know.
            batch_size: Int, users scored at a time.

        Returns:
            `Recommendations`, one entry a user; also for a single history. Scores are
            those of `model.score`, log pi_i(z) over all items for a multinomial VAE,
            whatever is left out of the ranking.

        Raises:
            UnknownIdError: Unknown items (or users), with on_unknown="raise".
            ValueError: k < 1, nothing allowed, or not one of histories and user_ids.
        """
        if not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"`k` must be an integer >= 1. Received: k={k!r}.")
        users, matrix = self._matrix(histories, user_ids, on_unknown)
        barred = np.zeros(len(self.items), bool)
        if allow is not None:
            barred[:] = True
            barred[self.items.index(list(allow), on_unknown=on_unknown)] = False
        if deny is not None:
            barred[self.items.index(list(deny), on_unknown=on_unknown)] = True
        if barred.all():
            raise ValueError("`allow` and `deny` leave no item to recommend.")
        ranked, scores = [], []
        for start in range(0, matrix.shape[0], batch_size):
            batch = matrix[start : start + batch_size]
            excluded = _excluded(batch if exclude_seen else None, barred, batch.shape)
            found = np.array(self.model.score(batch, batch_size=batch_size))
            top = top_k(found, k, excluded=excluded)
            for row, valid in enumerate(top.valid):
                ranked.append(self.items.ids[top.indices[row, :valid]])
                scores.append(top.scores[row, :valid])
        return Recommendations(users, ranked, scores, self.titles)

    def similar_items(
        self, item_ids: Sequence[Any], k: int = 10, *, on_unknown: OnUnknown = "raise"
    ) -> Recommendations:
        """The items whose output weights point the same way.

        Args:
            item_ids: Raw ids.
            k: Int >= 1.
            on_unknown: As in `recommend`.

        Returns:
            `Recommendations`, one entry an id; scores are cosines in [-1, 1].

        Raises:
            TypeError: A model without item vectors, as a baseline.
        """
        if not hasattr(self.model, "item_vectors"):
            raise TypeError(
                f"{type(self.model).__name__} has no item vectors to compare."
            )
        indices = self.items.index(list(item_ids), on_unknown=on_unknown)
        vectors = self.model.item_vectors
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.where(norms == 0, 1, norms)
        itself = sparse.csr_matrix(
            (np.ones(len(indices)), (np.arange(len(indices)), indices)),
            shape=(len(indices), len(self.items)),
        )
        top = top_k(vectors[indices] @ vectors.T, k, excluded=itself)
        pairs = list(zip(top.indices, top.scores, top.valid, strict=True))
        return Recommendations(
            self.items.ids[indices].tolist(),
            [self.items.ids[row[:valid]] for row, _, valid in pairs],
            [scores[:valid] for _, scores, valid in pairs],
            self.titles,
        )

    def embed(
        self,
        histories: Any = None,
        *,
        user_ids: Sequence[Any] | None = None,
        on_unknown: OnUnknown = "raise",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of q(z | x) of each user, (users, latent_dim) float32."""
        if not hasattr(self.model, "embed"):
            raise TypeError(f"{type(self.model).__name__} has no latent space.")
        _, matrix = self._matrix(histories, user_ids, on_unknown)
        mean, variance = self.model.embed(matrix)
        return mean, variance

    def _matrix(
        self, histories: Any, user_ids: Sequence[Any] | None, on_unknown: OnUnknown
    ) -> tuple[list[Any], sparse.csr_matrix]:
        if (histories is None) == (user_ids is None):
            raise ValueError("Give either `histories` or `user_ids`.")
        if user_ids is None:
            rows = [histories] if _is_single(histories) else list(histories)
            return list(range(len(rows))), self._histories_matrix(rows, on_unknown)
        if self.histories is None:
            raise ValueError(
                "This recommender keeps no histories, so it knows no user ids. Make it "
                "with Recommender(..., histories=interactions)."
            )
        if isinstance(user_ids, str) or not isinstance(user_ids, Iterable):
            raise ValueError(f"`user_ids` must be a list. Received: {user_ids!r}.")
        indices = self.histories.users.index(list(user_ids), on_unknown=on_unknown)
        users = self.histories.users.ids[indices].tolist()
        return users, self.histories.matrix[indices]

    def _histories_matrix(
        self, rows: list[Any], on_unknown: OnUnknown
    ) -> sparse.csr_matrix:
        indptr, indices, values = [0], [], []
        for history in rows:
            counts = (
                history if isinstance(history, Mapping) else dict.fromkeys(history, 1.0)
            )
            find = self.items.index if on_unknown == "raise" else self.items.lookup
            found = find(list(counts))
            weights = np.array(list(counts.values()), "float32")
            indices.append(found[found >= 0])
            values.append(weights[found >= 0])
            indptr.append(indptr[-1] + len(indices[-1]))
        matrix = sparse.csr_matrix(
            (
                np.concatenate([np.zeros(0, "float32"), *values]),
                np.concatenate([np.zeros(0, "int64"), *indices]),
                indptr,
            ),
            shape=(len(rows), len(self.items)),
        )
        matrix.sort_indices()
        return matrix

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes model, vocabularies, titles and histories as one folder, atomically.

        Args:
            folder: The folder to make. An older recommender there is replaced once
                the new one is complete; anything else is left alone.

        Raises:
            FileExistsError: `folder` holds something else.
        """
        storage.write(Path(folder), self.model, self.items, self.histories, self.titles)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Recommender:
        """Reads what `save` wrote, on any backend.

        Raises:
            FileNotFoundError: There is no such folder.
            DamagedFileError: A foreign, truncated or newer folder.
        """
        model, items, histories, titles = storage.read(Path(folder))
        try:
            return cls(model, items, histories=histories, titles=titles)
        except ValueError as error:
            raise DamagedFileError(f"{folder} is mixed up: {error}") from None


def _is_single(histories: Any) -> bool:
    """Whether it is one history rather than a list of them."""
    if isinstance(histories, str) or not isinstance(histories, Iterable):
        raise ValueError(
            "`histories` must be a list of item ids, or a list of such lists. "
            f"Received: {histories!r}."
        )
    nested = (Mapping, list, tuple, set, np.ndarray)
    if isinstance(histories, Mapping):
        return True
    return not any(isinstance(each, nested) for each in histories)


def _excluded(
    seen: sparse.csr_matrix | None, barred: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_matrix | None:
    """What must not be ranked: seen items and those barred for everybody."""
    if not barred.any():
        return seen
    everybody = np.zeros(shape, bool)
    everybody[:, barred] = True
    if seen is not None:
        everybody |= seen.toarray() > 0
    return sparse.csr_matrix(everybody)
