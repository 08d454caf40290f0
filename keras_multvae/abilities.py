"""What a model can do, as protocols: code asks for an ability, not for a class.

docs/architecture.md lists them. Every model has `Ranks`; the others are optional, and
`require` raises an error in one line if one is missing.
"""

from __future__ import annotations

from inspect import getattr_static
from typing import Any, Protocol, Self

import numpy as np
from scipy import sparse

from keras_multvae.typing import Model, Tensor, Variable


class Ranks(Protocol):
    """Scores items for histories: evaluation, recommendation, comparison."""

    num_items: int

    def score(self, histories: sparse.csr_matrix, batch_size: int = 500) -> np.ndarray:
        """CSR (users, num_items) -> float32 (users, num_items), higher is better."""


class FitsClicks(Protocol):
    """Is fitted to a matrix in one call, as baselines are: `compare`."""

    def fit(self, interactions: object) -> Self:
        """`Interactions` or CSR (users, num_items) -> the model itself."""


class HasBeta(Protocol):
    """Weighs a KL by beta: `BetaAnneal`, `FreezeBeta`, `find_beta_cap`."""

    def set_beta_schedule(self, schedule: object) -> None:
        """Makes beta follow a `BetaSchedule` from the next step on."""


class HasItemVectors(Protocol):
    """Inner products of vectors are logits: similar items, approximate search."""

    @property
    def item_vectors(self) -> np.ndarray:
        """float32 (num_items, units)."""

    @property
    def item_biases(self) -> np.ndarray:
        """float32 (num_items,)."""

    def query_vectors(
        self, histories: sparse.csr_matrix, batch_size: int = 500
    ) -> np.ndarray:
        """CSR (users, num_items) -> float32 (users, units)."""


class HasItemEmbeddings(Protocol):
    """Has an embedding of each item at its input and output: `ImplicitSLIM`."""

    @property
    def item_embeddings(self) -> list[tuple[Variable, int]]:
        """Each distinct variable of item embeddings, and which axis is the items'."""


class Embeds(Protocol):
    """Has a latent space: `Recommender.embed`."""

    def embed(
        self, histories: sparse.csr_matrix, batch_size: int = 500
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each user's z, two float32 (users, latent_dim)."""


class GivesLogits(Protocol):
    """A Keras model from a batch to logits: `export_saved_model`."""

    likelihood: Any

    def logits(self, inputs: object) -> Tensor:
        """A batch -> logits (users, num_items), in inference."""


class Exported(Ranks, GivesLogits, Protocol):
    """What `export_saved_model` writes: a model that ranks by its logits."""


class PadsItems(Protocol):
    """Can have padding items after its own: `distribution.shard`."""

    padding_items: int

    @property
    def output_bias(self) -> Variable:
        """The variable with the bias of each item's logit."""


class TakesNewItems(Protocol):
    """Has tables that a new item gets rows in: `Recommender.add_items`."""

    @property
    def output_table(self) -> Variable:
        """The variable with the vector of each item's logit."""

    @property
    def output_bias(self) -> Variable:
        """The variable with the bias of each item's logit."""

    def with_new_items(self, num_items: int) -> Model:
        """A copy of the model for a catalogue that has grown."""


_WORDS: dict[type, str] = {
    Ranks: "a model with `num_items` and `score`",
    FitsClicks: "a model that is fitted to a matrix, as EASE",
    HasBeta: "a model with a beta, as MultVAE",
    HasItemVectors: "a model with item vectors, as MultVAE",
    HasItemEmbeddings: "a model with item embeddings, as MultVAE or RecVAE",
    Embeds: "a model with a latent space, as MultVAE",
    GivesLogits: "a Keras model that gives logits, as MultVAE",
    TakesNewItems: "a network with item vectors, as MultVAE",
    PadsItems: "a model with `output_bias`, as MultVAE",
}


def can(model: Model, ability: type) -> bool:
    """Whether a model, or a class of models, has an ability.

    It checks for attributes, and computes no property.

    Example:

    >>> from keras_multvae import EASE, MultVAE
    >>> can(MultVAE, HasBeta), can(EASE(3), HasBeta)
    (True, False)
    """
    names = {*vars(ability), *vars(ability).get("__annotations__", {})}
    members = (name for name in names if not name.startswith("_"))
    return all(getattr_static(model, name, None) is not None for name in members)


def require(model: Model, ability: type, what: str) -> None:
    """Raises `TypeError` where a model lacks an ability.

    Args:
        model: A model or a class of models.
        ability: A protocol of this module.
        what: What needs the ability, such as "similar_items()".
    """
    if not can(model, ability):
        name = model.__name__ if isinstance(model, type) else type(model).__name__
        raise TypeError(f"{what} needs {_WORDS[ability]}. Received: {name}.")
