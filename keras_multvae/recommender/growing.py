"""A recommender whose shop has new items."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_multvae import checks
from keras_multvae.cold_start import Calibration, Known, judges_of, with_items
from keras_multvae.data import FoldIn, Interactions, Vocabulary
from keras_multvae.features import ItemFeatures
from keras_multvae.recommender.histories import listed
from keras_multvae.recommender.parts import Parts
from keras_multvae.recommender.titles import as_titles
from keras_multvae.typing import Column, Frame, Id

if TYPE_CHECKING:
    from keras_multvae.recommender.recommender import Recommender


class GrowingCatalogue(Parts):
    """What a `Recommender` does with items that its model was not trained on."""

    # How the last new items were made to compete; None before there were any.
    calibration: Calibration | None = None

    def add_items(
        self,
        item_ids: Iterable[Id],
        features: Mapping[str, Column] | Frame | ItemFeatures,
        *,
        titles: object = None,
        histories: Interactions | None = None,
        judges: FoldIn | None = None,
        warm_loss: float = 0.005,
        boost: float = 0.0,
        seed: int = 0,
    ) -> Recommender:
        """A recommender that also knows items that nobody has clicked yet.

        What the model knows of an item, its rows in the encoder and the decoder and its
        bias, is predicted from the item's features, by a ridge regression that learns
        from the items that are known, the more the better each is known
        (docs/method.md). Items that it has keep their weights exactly. Nothing is
        trained; `export_saved_model` makes the new items known to a server.

        Args:
            item_ids: Raw ids of new items; those that it has are passed over.
            features: `ItemFeatures` of these, or columns with a value for each, as in
                `ItemFeatures.from_columns`, or a DataFrame of them: the features that
                `features` has.
            titles: Optional, as in `Recommender`; those of before stay.
            histories: Optional `Interactions` in place of the stored ones: with clicks
                on new items, which then count beside the features.
            judges: Optional `FoldIn` of held-out users, over this recommender's items,
                by whom it is chosen how strongly new items compete; by default users of
                the histories, a fifth of whose clicks are hidden.
            warm_loss: Float in [0, 1], the share of NDCG@100 that the items of before
                may lose to new ones, by the judges. More has new ones recommended more
                often.
            boost: Finite float, what is added to new items' logits besides, beyond that
                budget.
            seed: Int >= 0, of what is drawn at random.

        Returns:
            A new `Recommender`, whose `calibration` tells what was chosen, and what it
            costs the items of before.

        Raises:
            TypeError: A model that has no item embeddings, as a baseline.
            ValueError: This recommender has no features or no histories, or `features`
                that are not those of `item_ids`.

        Example:

        >>> from keras_multvae import ItemFeatures, MultVAE, Recommender
        >>> from keras_multvae.data import Interactions
        >>> rng = np.random.default_rng(0)
        >>> users = np.repeat(np.arange(40), 5)
        >>> clicks = Interactions.from_events(users, rng.integers(12, size=200))
        >>> features = ItemFeatures.from_columns({"colour": ["red", "blue"] * 6})
        >>> model = MultVAE(12, latent_dim=2, hidden_dims=(4,), seed=0)
        >>> shop = Recommender(model, clicks.items, histories=clicks, features=features)
        >>> grown = shop.add_items([100, 101], {"colour": ["red", "blue"]})
        >>> len(grown.items)
        14
        >>> sorted(grown.recommend([0, 1], allow=[100, 101]).items[0].tolist())
        [100, 101]
        """
        warm_loss = checks.share("warm_loss", warm_loss)
        boost = checks.number("boost", boost, at_least=-math.inf)
        seed = checks.integer("seed", seed, at_least=0)
        ids = listed(item_ids, "item_ids")
        own, new = self._features_of(ids, features)
        stored = self.histories if histories is None else histories
        if stored is None:
            raise ValueError(
                "add_items() learns from clicks, and this recommender keeps no "
                "histories. Pass `histories`, or train it without --no-histories."
            )
        if judges is not None and judges.input.items != self.items:
            raise ValueError(
                "`judges` must have the items of the recommender, in their order. "
                f"Received: {judges.input.items}, expected {self.items}."
            )
        kept = np.flatnonzero(self.items.lookup(ids) < 0)
        items, grown, calibration = self.items, self.model, self.calibration
        if len(kept):
            items = items.extend([ids[row] for row in kept])
            own = own.followed_by(new.take(kept))
            clicks = _with_items(stored, self.items)
            known = Known(
                own.unit_rows(),
                np.bincount(clicks.matrix.indices, minlength=len(self.items)),
                judges_of(clicks, seed) if judges is None else judges,
                _with_items(stored, items).matrix,
            )
            grown, calibration = with_items(self.model, known, warm_loss, boost, seed)
        found = type(self)(
            grown,
            items,
            histories=_with_items(stored, items),
            titles={**self.titles, **as_titles(titles)},
            training=self.training,
            features=own,
        )  # type: ignore[call-arg]
        found.calibration = calibration
        return found  # type: ignore[return-value]

    def _features_of(
        self, ids: list[Id], features: Mapping[str, Column] | Frame | ItemFeatures
    ) -> tuple[ItemFeatures, ItemFeatures]:
        """The features of the known items, and those of the given ones."""
        if self.features is None:
            raise ValueError(
                "add_items() predicts from features, and this recommender has none. "
                "Make it with Recommender(..., features=ItemFeatures), or prepare with "
                "--features."
            )
        found = self.features.like(features)
        if found.num_items != len(ids):
            raise ValueError(
                f"`features` must be of the {len(ids)} items. Received: {found}."
            )
        return self.features, found


def _with_items(interactions: Interactions, items: Vocabulary) -> Interactions:
    return (
        interactions if interactions.items == items else interactions.with_items(items)
    )
