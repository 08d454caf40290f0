"""Recommendations by raw ids."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.abilities import Embeds, HasItemVectors, Ranks, require
from keras_multvae.data import Interactions, Vocabulary
from keras_multvae.data.prepared import check_features
from keras_multvae.features import ItemFeatures
from keras_multvae.files import DamagedFileError
from keras_multvae.ranking import select_rows
from keras_multvae.recommender import hub, parquet, storage
from keras_multvae.recommender.address import address_of
from keras_multvae.recommender.growing import GrowingCatalogue
from keras_multvae.recommender.histories import (
    OnUnknown,
    listed,
    of_users,
    selected,
)
from keras_multvae.recommender.reasons import reasons_of
from keras_multvae.recommender.recommendations import Recommendations
from keras_multvae.recommender.selected import collected, rankings_of
from keras_multvae.recommender.similar import similar
from keras_multvae.recommender.stored import Stored
from keras_multvae.recommender.titles import as_titles
from keras_multvae.recommender.vectors import VectorSearch
from keras_multvae.reranking import Reranking
from keras_multvae.tables import ShowsTable, Table
from keras_multvae.training.record import TrainingRecord
from keras_multvae.typing import Histories, Id, Model


class Recommender(VectorSearch, GrowingCatalogue, Stored, ShowsTable):
    """Recommends items by raw ids with a trained model.

    Args:
        model: Any model with `num_items` and `score`.
        items: `Vocabulary` of the model's items, in its order.
        histories: Optional `Interactions` over the same items, for look-up by
            `user_ids`. Stored by `save`.
        titles: Optional title by raw item id, for display: a dict, a pandas Series, or
            a DataFrame with the columns item_id and title.
        training: Optional record of the model's training, stored by `save`.
        features: Optional `ItemFeatures` of the same items, in their order; stored by
            `save`.

    Raises:
        ValueError: A model, histories or features with other items than the vocabulary.

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
        model: Model,
        items: Vocabulary,
        *,
        histories: Interactions | None = None,
        titles: object = None,
        training: TrainingRecord | None = None,
        features: ItemFeatures | None = None,
    ) -> None:
        require(model, Ranks, "A Recommender")
        if model.num_items != len(items):
            raise ValueError(
                f"The model ranks {model.num_items} items, the vocabulary has "
                f"{len(items)}: they do not belong together."
            )
        if histories is not None and histories.items != items:
            raise ValueError("`histories` must have the items of the recommender.")
        check_features(features, len(items))
        self.model = model
        self.items = items
        self.histories = histories
        self.titles = as_titles(titles)
        self.training = training
        self.features = features

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}: {what}" for name, what in self._parts())
        return f"Recommender({parts})"

    def _table(self) -> Table:
        return Table(["part", "content"], self._parts(), "Recommender")

    def _parts(self) -> list[tuple[str, str]]:
        """What it holds, by name."""
        parts = [("model", repr(self.model)), ("items", repr(self.items))]
        if self.titles:
            parts.append(("titles", f"{len(self.titles)}"))
        for name in ("histories", "features"):
            if getattr(self, name) is not None:
                parts.append((name, repr(getattr(self, name))))
        if self.training is not None:
            parts.append(("trained on", self.training.versions.get("backend", "?")))
        return parts

    def recommend(
        self,
        histories: Histories = None,
        *,
        user_ids: Sequence[Id] | Literal["all"] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        allow: Iterable[Id] | None = None,
        deny: Iterable[Id] | None = None,
        niche: float = 0.0,
        reasons: int = 0,
        on_unknown: OnUnknown = "raise",
        batch_size: int | None = None,
        progress: bool = False,
        rerank: Reranking | None = None,
    ) -> Recommendations:
        """Ranks the items for users given by their histories or ids.

        Args:
            histories: Raw item ids (any iterable: a list, set, array, column, iterator)
                or a dict from ids to counts, where 0 is no click; or several of either,
                as an iterable or as a dict from users to them; or a matrix with the
                recommender's items, `Interactions` too; or a DataFrame of events, with
                the columns user_id and item_id. An empty history gets the ranking of an
                unknown user.
            user_ids: In place of `histories`: users with stored histories, or "all".
            k: Int >= 1, items for each user; fewer if fewer are left.
            exclude_seen: Bool, whether to leave out the items of the history.
            allow: Optional raw ids; no other items are recommended.
            deny: Optional raw ids that are never recommended.
            niche: Float in [0, 1], the share of an unknown user's scores to subtract:
                at 1, an item's popularity does not count.
            reasons: Int >= 0, items of the history to name as reasons of each
                recommendation. It takes a forward pass for each item of the history.
            on_unknown: "raise" an error for unknown item ids, or "skip" them.
            batch_size: Int >= 1, users scored at a time; by default chosen by memory.
            progress: Bool, whether to show progress on standard error.
            rerank: Optional `Reranking`: lists that are diverse, that have the
                history's mix of a feature, or not too much of one kind.

        Returns:
            `Recommendations`, with one entry for each user, also for a single history.
            Scores are those of `model.score`, minus what `niche` subtracts: for a
            multinomial VAE log pi_i(z) over all items, including those left out.

        Raises:
            UnknownIdError: Unknown items (or users), with on_unknown="raise".
            ValueError: k < 1, no item is allowed, both or neither of `histories` and
                `user_ids`, or `niche` for a model to which all items are equally
                popular.
        """
        reasons = checks.integer("reasons", reasons, at_least=0)
        users, matrix, rows = self._selected(histories, user_ids, on_unknown)
        rankings = rankings_of(
            self.model,
            self.items,
            matrix,
            rows,
            k=k,
            exclude_seen=exclude_seen,
            allow=allow,
            deny=deny,
            niche=niche,
            on_unknown=on_unknown,
            batch_size=batch_size,
            progress=progress,
            rerank=rerank,
            features=self.features,
        )
        top = collected(rankings, len(rows), min(k, len(self.items)))
        why = reasons_of(self.model, matrix, rows, top, reasons) if reasons else None
        return Recommendations(users, top, self.items.ids, self.titles, why)

    def recommend_to_parquet(
        self,
        path: str | os.PathLike[str],
        user_ids: Sequence[Id] | Literal["all"] = "all",
        **options: Any,
    ) -> int:
        """Writes rankings for users with stored histories to a Parquet file.

        It writes batch by batch, so memory does not grow with the number of users. The
        columns are `user_id`, `rank` (int32, from 1), `item_id` and `score` (float32),
        with a row for each rank of each user, in the order of `user_ids`. A user
        without recommendations has no row.

        Args:
            path: The file. An older one is replaced once the new one is complete.
            user_ids: Users with stored histories, or "all".
            **options: `k`, `exclude_seen`, `allow`, `deny`, `niche`, `on_unknown`,
                `batch_size`, `progress` and `rerank`, as in `recommend`.

        Returns:
            Rows written.

        Raises:
            ImportError: pyarrow is not installed.
            IsADirectoryError: `path` is a folder.
            UnknownIdError: See `recommend`, as for `ValueError`.

        Example:

        >>> import tempfile
        >>> import polars
        >>> from keras_multvae import Popularity, Recommender
        >>> from keras_multvae.data import Interactions
        >>> clicks = Interactions.from_events([1, 1, 2, 2, 2], list("abbac"))
        >>> model = Popularity(clicks.num_items).fit(clicks)
        >>> recommender = Recommender(model, clicks.items, histories=clicks)
        >>> path = f"{tempfile.mkdtemp()}/recommendations.parquet"
        >>> recommender.recommend_to_parquet(path, k=5)
        1
        >>> polars.read_parquet(path).row(0)[:3]
        (1, 1, 'c')
        """
        _, matrix, rows = self._selected(
            None, user_ids, options.get("on_unknown", "raise")
        )
        users = self._stored.users
        rankings = rankings_of(
            self.model, self.items, matrix, rows, features=self.features, **options
        )
        return parquet.write(path, users, self.items, rankings)

    def similar_items(
        self, item_ids: Sequence[Id], k: int = 10, *, on_unknown: OnUnknown = "raise"
    ) -> Recommendations:
        """The items with the most similar output vectors.

        Args:
            item_ids: Raw ids.
            k: Int >= 1.
            on_unknown: As in `recommend`.

        Returns:
            `Recommendations`, one entry for each id; scores are cosines in [-1, 1].

        Raises:
            TypeError: A model without item vectors.
        """
        require(self.model, HasItemVectors, "similar_items()")
        given = listed(item_ids, "item_ids")
        indices = self.items.index(given, on_unknown)
        top = similar(self.model, indices, k)
        found = self.items.ids[indices].tolist()
        return Recommendations(
            found, top, self.items.ids, self.titles, column="similar_to"
        )

    def embed(
        self,
        histories: Histories = None,
        *,
        user_ids: Sequence[Id] | None = None,
        on_unknown: OnUnknown = "raise",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of q(z | x) of each user, (users, latent_dim) float32."""
        require(self.model, Embeds, "embed()")
        _, matrix, rows = self._selected(histories, user_ids, on_unknown)
        mean, variance = self.model.embed(select_rows(matrix, rows))
        return mean, variance

    def _selected(
        self,
        histories: Histories,
        user_ids: Sequence[Id] | Literal["all"] | None,
        on_unknown: OnUnknown,
    ) -> tuple[list[Id], sparse.csr_matrix, np.ndarray]:
        """The users, a matrix with their histories, and the users' rows in it."""
        if (histories is None) == (user_ids is None):
            raise ValueError("Give either `histories` or `user_ids`.")
        if user_ids is not None:
            return of_users(self._stored, user_ids, on_unknown)
        return selected(histories, self.items, on_unknown)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Recommender:
        """Reads what `save` wrote, on any backend.

        Args:
            folder: A folder, or an address on the Hugging Face Hub: hf://user/name, or
                hf://user/name@revision for a branch, a tag or a commit. Nothing that
                comes from there is run.

        Raises:
            FileNotFoundError: There is no such folder.
            DamagedFileError: A foreign, truncated or newer folder, or an unknown model
                (see `register_model`).
            OSError: The Hub could not be reached, or refused.
        """
        address = address_of(folder)
        path = Path(folder) if address is None else hub.download(address)
        model, items, histories, titles, training, features = storage.read(path)
        try:
            return cls(
                model,
                items,
                histories=histories,
                titles=titles,
                training=training,
                features=features,
            )
        except ValueError as error:
            raise DamagedFileError(f"{folder} is mixed up: {error}") from None
