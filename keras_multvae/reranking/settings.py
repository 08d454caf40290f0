"""What a list is to be besides accurate."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from scipy import sparse

from keras_multvae import checks
from keras_multvae.features import ItemFeatures
from keras_multvae.features.feature import Matrix
from keras_multvae.ranking.catalogue import Catalogue, vectors_of
from keras_multvae.reranking.labels import LabelPairs
from keras_multvae.typing import Model

# Sparse vectors no wider than this are made dense: their rows are then copied faster.
NARROW = 64


@dataclass(frozen=True)
class Reranking:
    """Chooses a list anew among a user's best candidates, place by place.

    Each place goes to the candidate with the largest
    (1 - diversity - calibration) r - diversity s - calibration c: r is its score,
    brought to [0, 1] over the candidates; s its largest cosine with an item that is on
    the list already (maximal marginal relevance, Carbonell and Goldstein, SIGIR 1998);
    c the KL of the history's mix of labels from that of the list with it (Steck, RecSys
    2018). A candidate of whose labels one is on the list `at_most` times already is
    passed over.

    Args:
        diversity: Float in [0, 1], what unlikeness counts. Items are compared by the
            recommender's features, or by the model's item vectors if it has none.
        calibration: Float in [0, 1], what the history's mix of `by` counts; with
            `diversity` at most 1.
        at_most: Optional int >= 1, items of any one label of `by` in a list.
        by: The name of a feature of labels, for `calibration` and `at_most`.
        candidates: Int >= 1, a user's best items among which is chosen; at least as
            many as a list is long.

    Raises:
        ValueError: An argument out of its range, or no `by` where one is needed.

    Example:

    >>> Reranking(diversity=0.3).changes
    True
    >>> Reranking().changes
    False
    """

    diversity: float = 0.0
    calibration: float = 0.0
    at_most: int | None = None
    by: str | None = None
    candidates: int = 100

    def __post_init__(self) -> None:
        checks.share("diversity", self.diversity)
        checks.share("calibration", self.calibration)
        if self.diversity + self.calibration > 1:
            raise ValueError(
                "`diversity` and `calibration` are shares, of which the rest is the "
                f"score's: together at most 1. Received: {self.diversity} and "
                f"{self.calibration}."
            )
        if self.at_most is not None:
            checks.integer("at_most", self.at_most)
        checks.integer("candidates", self.candidates)
        if self.by is None and (self.calibration or self.at_most is not None):
            raise ValueError(
                "`calibration` and `at_most` go by labels of items: name a feature, as "
                "by='genres'."
            )

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return bool(self.diversity or self.calibration or self.at_most is not None)


@dataclass
class Items:
    """What re-ranking has to know of the items."""

    catalogue: Catalogue = field(repr=False)

    @cached_property
    def pairs(self) -> LabelPairs:
        """Their labels, as `LabelPairs`."""
        return LabelPairs(self.catalogue.mixes)

    @cached_property
    def unit_vectors(self) -> Matrix:
        """What they are compared by, float32 (items, width) of length 1, or 0."""
        vectors = self.catalogue.unit_vectors.astype("float32")
        if sparse.issparse(vectors) and vectors.shape[1] <= NARROW:
            return vectors.toarray()
        return vectors


def items_of(
    reranking: Reranking, model: Model, features: ItemFeatures | None
) -> Items:
    """What re-ranking has to know of the items.

    Raises:
        ValueError: Labels are asked for, and there are no features; or neither features
            nor item vectors to compare items by.
    """
    found = Catalogue()
    if reranking.by is not None:
        if features is None:
            raise ValueError(
                f"`by` names a feature of the items, here {reranking.by!r}, and this "
                "recommender has none: make it with Recommender(..., features=...), or "
                "prepare with --features."
            )
        found.labels = features.labels(reranking.by)
    if reranking.diversity:
        found.vectors = vectors_of(model, features)
        if found.vectors is None:
            raise ValueError(
                "`diversity` compares items by features or by item vectors, and this "
                f"{type(model).__name__} has neither. Give the recommender features."
            )
    return Items(found)
