"""What a recipe may add to the training of a network. No Keras here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from keras_multvae.settings import (
    NON_NEGATIVE,
    NON_NEGATIVE_INT,
    PART,
    POSITIVE,
    POSITIVE_INT,
    SHARE,
    Optional,
    Settings,
    setting,
)

# Items above which B is not made as a dense matrix, and the weights of an item then.
LARGE, NEIGHBOURS = 20_000, 200
# Clicks for each training user below which an item's vector says nothing to others.
SPOKEN_FOR = 0.006


@dataclass(frozen=True)
class LinearPath(Settings):
    """A linear model beside a network: logits f(x) + w (x B), see `add_linear_path`.

    B is `EASE` with these settings, fitted to the training users and cut to its largest
    entries; for catalogues that are too large for that, `SparseEASE`.

    Args:
        l2: See `EASE`.
        dropout: See `EASE`.
        user_weight: See `EASE`.
        neighbours: See `SparseEASE`; None for `EASE`.
        density: Float in (0, 1), share of the entries of B that are kept. By default
            what validation users choose, of 0.001, 0.003 and 0.01.
        weight: Float >= 0, w. By default what validation users choose.

    Example:

    >>> from keras_multvae import LinearPath, MultVAE, Recipe
    >>> Recipe(MultVAE.Config(), linear_path=LinearPath(l2=100)).linear_path.dropout
    0.5
    """

    l2: float = setting(200.0, POSITIVE, "penalty on the linear model's weights")
    dropout: float = setting(0.5, SHARE, "share of clicks that it is to do without")
    user_weight: float = setting(
        0.5, NON_NEGATIVE, "a user of n clicks weighs n to the power of minus this"
    )
    neighbours: int | None = setting(
        None, Optional(POSITIVE_INT), "weights of an item, for a large catalogue"
    )
    density: float | None = setting(
        None, Optional(PART), "share of its weights that are kept"
    )
    weight: float | None = setting(
        None, Optional(NON_NEGATIVE), "what its scores are multiplied by"
    )

    @classmethod
    def of_size(cls, num_items: int) -> Self:
        """The default for a catalogue: with `neighbours` above 20,000 items."""
        return cls(neighbours=NEIGHBOURS if num_items > LARGE else None)


@dataclass(frozen=True)
class SlimUpdates(Settings):
    """Updates of the item embeddings during a training, see `ImplicitSLIM`.

    Args:
        every: See `ImplicitSLIM`.
        l2: See `ImplicitSLIM`.
        alpha: See `ImplicitSLIM`.
        min_clicks: See `ImplicitSLIM`; by default 6 for each 1,000 training users.

    Example:

    >>> from keras_multvae import Recipe, RecVAE, SlimUpdates
    >>> recipe = Recipe(RecVAE.Config(), implicit_slim=SlimUpdates(l2=100))
    >>> recipe.implicit_slim.clicks_for(50_000)
    300
    """

    every: int = setting(40, POSITIVE_INT, "epochs between two updates")
    l2: float = setting(500.0, POSITIVE, "penalty of the linear model")
    alpha: float = setting(1.0, POSITIVE, "how far the embeddings follow it")
    min_clicks: int | None = setting(
        None,
        Optional(NON_NEGATIVE_INT),
        "clicks of an item whose embedding counts; by default 6 for each 1,000 users",
    )

    def clicks_for(self, num_users: int) -> int:
        """`min_clicks`, or its default for a number of training users."""
        if self.min_clicks is not None:
            return self.min_clicks
        return round(SPOKEN_FOR * num_users)
