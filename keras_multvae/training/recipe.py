"""What a training is made of. No Keras here."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

from keras_multvae import registry
from keras_multvae.settings import (
    INTEGER,
    NON_NEGATIVE,
    PART,
    POSITIVE,
    POSITIVE_INT,
    SHARE,
    Choice,
    OneOf,
    Optional,
    Settings,
    setting,
)
from keras_multvae.typing import Json, Model

# The log by which the best epoch is chosen.
CHOSEN_BY = "val_ndcg_at_100"
PARTS = ("model", "settings", "training")
# What `Recipe.resolved` aims at: steps of a training, and at least of an epoch.
STEPS, STEPS_AN_EPOCH = 20_000, 10


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


@dataclass(frozen=True)
class Recipe(Settings):
    """How to train a model.

    The network, the optimiser and the cap of beta are the paper's. Batches, epochs and
    annealing follow from the number of users: the paper's are made for 100,000.

    Args:
        model: The settings of a model, as `MultVAE.Config(latent_dim=64)`, or the name
            of a registered model, for its defaults.
        epochs: Int >= 1, passes over the training users. By default what comes to
            20,000 steps, and between 20 and 100.
        batch_size: Int >= 1, users a step. By default 500, and fewer where that would
            be less than ten steps an epoch, down to 25.
        learning_rate: Float > 0, of Adam. By default that of the model's paper: 1e-3
            for `MultVAE` and `MultDAE`, 5e-4 for `RecVAE`.
        decay: "none", or "cosine" for a rate that falls to 0 by half a cosine.
        user_weight: Float >= 0, a: a user of n items weighs n^-a, scaled to a mean of
            1. The likelihood counts clicks, rankings are measured by users.
        patience: Int >= 1, epochs without a better validation NDCG@100 after which the
            training ends. By default it goes on to the last epoch.
        beta_cap: Float >= 0, where the KL weight stops rising; for models with a beta.
        anneal_steps: Float >= 0, optimiser steps in which it would reach 1. None lets
            it reach its cap after half of the training, however long that is: the
            paper's 200,000 would leave it near 0 on small data.
        partitions: Int >= 1, equal parts of a batch, see `UserBatches`; by default one a
            replica of the distribution. Give it where a training must be the same on
            other numbers of replicas.
        seed: Int, of weights, noise and the order of users.
        linear_path: None, or a `LinearPath` to put beside the trained network.

    Raises:
        ValueError: A value out of its range, or a model that is not known.
        TypeError: `model` is the settings of no registered model, or a model that is
            not trained by a recipe.

    Example:

    >>> from keras_multvae import MultDAE, Recipe
    >>> Recipe(MultDAE.Config(latent_dim=64), epochs=20).model.l2
    2e-05
    >>> Recipe("MultDAE").model.latent_dim
    200
    """

    model: Any = "MultVAE"
    epochs: int | None = setting(
        None,
        Optional(POSITIVE_INT),
        "passes over the users; by default what comes to 20,000 steps, from 20 to 100",
    )
    batch_size: int | None = setting(
        None,
        Optional(POSITIVE_INT),
        "users a step; by default 500, or a tenth of the users, from 25 on",
    )
    learning_rate: float | None = setting(
        None, Optional(POSITIVE), "of Adam; by default that of the model's paper"
    )
    decay: str = setting(
        "none", Choice(("none", "cosine")), "how the learning rate falls to 0"
    )
    user_weight: float = setting(
        0.0, NON_NEGATIVE, "a user of n items weighs n to the power of minus this"
    )
    patience: int | None = setting(
        None,
        Optional(POSITIVE_INT),
        "epochs without a better validation after which the training ends",
    )
    beta_cap: float = setting(0.2, NON_NEGATIVE, "where the KL weight stops rising")
    anneal_steps: float | None = setting(
        None,
        Optional(NON_NEGATIVE),
        "steps in which beta would reach 1; by default it reaches its cap after half "
        "of the training",
    )
    partitions: int | None = setting(
        None,
        Optional(POSITIVE_INT),
        "parts of a batch, a multiple of its replicas: a training with the same number "
        "of partitions is the same on any number of replicas",
    )
    seed: int = setting(0, INTEGER, "of weights, noise and the order of users")
    linear_path: LinearPath | None = setting(
        None,
        OneOf({"none": None, "ease": LinearPath}, prefix="linear_"),
        "a linear model beside the network, at no cost of training",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        model = self.model
        if isinstance(model, str):
            config = registry.find(model).config
            if config is None:
                raise TypeError(
                    f"{model} is not trained by a Recipe: it has no Config. Fit it, or "
                    f"take one of {', '.join(trained_names())}."
                )
            object.__setattr__(self, "model", config())
        elif not isinstance(model, Settings):
            raise TypeError(
                "`model` must be the Config of a model, as MultVAE.Config(), or a "
                f"name. Received: model={model!r}."
            )
        else:
            registry.config_entry(model)

    @property
    def model_name(self) -> str:
        """The name of the model."""
        return registry.config_entry(self.model).name

    def resolved(self, num_users: int) -> Self:
        """The recipe with `epochs` and `batch_size` for a number of training users.

        Example:

        >>> small, large = Recipe().resolved(500), Recipe().resolved(1_000_000)
        >>> (small.batch_size, small.epochs), (large.batch_size, large.epochs)
        ((50, 100), (500, 20))
        """
        batch_size, epochs = self.sizes(num_users)
        return replace(self, epochs=epochs, batch_size=batch_size)

    def sizes(self, num_users: int) -> tuple[int, int]:
        """The batch size and the epochs for a number of training users."""
        batch_size, epochs = self.batch_size, self.epochs
        if batch_size is None:
            partitions = self.partitions or 1
            batch_size = min(max(num_users // STEPS_AN_EPOCH, 25), 500)
            batch_size = -(-batch_size // partitions) * partitions
        if epochs is None:
            epochs = min(max(STEPS // -(-num_users // batch_size), 20), 100)
        return batch_size, epochs

    def resolved_anneal_steps(self, steps_per_epoch: int) -> float:
        """`anneal_steps`, or its default for a number of steps an epoch."""
        if self.anneal_steps is not None:
            return self.anneal_steps
        if self.beta_cap == 0:
            return 0
        if self.epochs is None:
            raise ValueError("`epochs` is not known yet: call `resolved` first.")
        return self.epochs * steps_per_epoch / 2 / self.beta_cap

    def build(self, num_items: int, steps: int | None = None) -> Any:
        """The untrained model of these settings, compiled.

        Args:
            num_items: Int, the size of the catalogue.
            steps: Int, optimiser steps of the whole training, for `decay`.
        """
        cls: Any = registry.config_entry(self.model).model
        with _default_seeds_from(self.seed):
            model = cls(num_items, **self.model.arguments(), seed=self.seed)
        self.compile(model, steps)
        return model

    def compile(self, model: Model, steps: int | None = None) -> None:
        """Compiles a model as this recipe trains it, with an optimiser that is new."""
        model.compile(model.default_optimizer(**self._rate(model, steps)))

    def _rate(self, model: Model, steps: int | None) -> dict[str, Any]:
        """The learning rate, or its schedule, where it is not the model's own."""
        rate = self.learning_rate
        if self.decay == "none":
            return {} if rate is None else {"learning_rate": rate}
        import keras

        if steps is None:
            raise ValueError(f'decay="{self.decay}" has to know the number of steps.')
        if rate is None:
            own = model.default_optimizer().learning_rate
            rate = float(keras.ops.convert_to_numpy(own))
        decay = keras.optimizers.schedules.CosineDecay(rate, steps)
        return {"learning_rate": decay}

    def is_exhausted(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Whether `patience` ends a training whose epochs had these logs."""
        values = [row[CHOSEN_BY] for row in history if CHOSEN_BY in row]
        if self.patience is None or not values:
            return False
        best = max(range(len(values)), key=lambda epoch: values[epoch])
        return len(values) - 1 - best >= self.patience

    def to_json(self) -> Json:
        """Every setting, as JSON has it."""
        return {
            "model": self.model_name,
            "settings": self.model.to_json(),
            "training": super().to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The opposite of `to_json`; settings that are left out have their defaults.

        Raises:
            ValueError: A setting that there is not, a value out of range, or a model
                that is not known.
        """
        unknown = set(values) - set(PARTS)
        if unknown:
            raise ValueError(
                f"A recipe has model, settings and training, and no {sorted(unknown)}."
            )
        name = values.get("model", "MultVAE")
        config = registry.find(name).config
        if config is None:
            raise ValueError(f"{name} is not trained by a Recipe: it has no Config.")
        base = super().from_json(values.get("training", {}))
        model = config.from_json(values.get("settings", {}))
        return cls(model, **base.arguments())


@contextmanager
def _default_seeds_from(seed: int) -> Iterator[None]:
    """A context in which layers without a seed of their own get one that follows.

    Keras draws it from Python's global random state, which is put back.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def trained_names() -> list[str]:
    """The models that `Recipe` trains, ours first; those announced count untried."""
    known = {name: None for name, (config, _) in registry.BUILT_IN.items() if config}
    others = [name for name in registry.names() if name not in registry.BUILT_IN]
    return [*known, *others]
