"""What a training is made of, and where a model came from. No Keras here."""

from __future__ import annotations

import platform
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from keras_multvae import registry
from keras_multvae.files import DamagedFileError, read_format, read_json, write_json
from keras_multvae.settings import (
    INTEGER,
    NON_NEGATIVE,
    POSITIVE,
    POSITIVE_INT,
    Optional,
    Settings,
    setting,
)

FORMAT, VERSION = "keras_multvae.recipe", 1
FILE = "recipe.json"
PARTS = ("model", "settings", "training")
# Of an epoch, by which default batches are chosen.
FEWEST_STEPS = 5


@dataclass(frozen=True)
class Recipe(Settings):
    """How to train a model; the defaults are the paper's, but for the annealing.

    Args:
        model: The settings of a model, as `MultVAE.Config(latent_dim=64)`, or the name
            of a registered model, for its defaults.
        epochs: Int >= 1, passes over the training users.
        batch_size: Int >= 1, users a step.
        learning_rate: Float > 0, of Adam.
        beta_cap: Float >= 0, where the KL weight stops rising; for models with a beta.
        anneal_steps: Float >= 0, optimiser steps in which it would reach 1. None lets
            it reach its cap after half of the training, however long that is: the
            paper's 200,000 would leave it near 0 on small data.
        blocks: Int >= 1, equal parts of a batch, see `UserBatches`; by default one a
            replica of the distribution. Give it where a training must be the same on
            other numbers of replicas.
        seed: Int, of weights, noise and the order of users.

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
    epochs: int = setting(100, POSITIVE_INT, "passes over the users")
    batch_size: int = setting(500, POSITIVE_INT, "users a step")
    learning_rate: float = setting(1e-3, POSITIVE, "of Adam")
    beta_cap: float = setting(0.2, NON_NEGATIVE, "where the KL weight stops rising")
    anneal_steps: float | None = setting(
        None,
        Optional(NON_NEGATIVE),
        "steps in which beta would reach 1; by default it reaches its cap after half "
        "of the training",
    )
    blocks: int | None = setting(
        None,
        Optional(POSITIVE_INT),
        "parts of a batch, a multiple of its replicas: a training with the same number "
        "of blocks is the same on any number of replicas",
    )
    seed: int = setting(0, INTEGER, "of weights, noise and the order of users")

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

    def resolved_anneal_steps(self, steps_per_epoch: int) -> float:
        """`anneal_steps`, or its default for a number of steps an epoch."""
        if self.anneal_steps is not None:
            return self.anneal_steps
        half = self.epochs * steps_per_epoch / 2
        return half / self.beta_cap if self.beta_cap else 0

    def build(self, num_items: int) -> Any:
        """The untrained model of these settings, compiled."""
        cls: Any = registry.config_entry(self.model).model
        with _default_seeds_from(self.seed):
            model = cls(num_items, **self.model.arguments(), seed=self.seed)
        self.compile(model)
        return model

    def compile(self, model: Any) -> None:
        """Compiles a model as this recipe trains it, with an optimiser that is new."""
        from keras_multvae.optimizers import FusedAdam

        model.compile(FusedAdam(self.learning_rate, epsilon=1e-8))

    def to_json(self) -> dict[str, Any]:
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


def fitting_batch_size(num_users: int) -> int:
    """The default number of users a batch, or less where an epoch had few steps.

    A model that takes one step an epoch has hardly moved when its epochs are over.

    Example:

    >>> fitting_batch_size(100_000), fitting_batch_size(483)
    (500, 96)
    """
    return min(Recipe.batch_size, max(num_users // FEWEST_STEPS, 1))


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


@dataclass(frozen=True)
class TrainingRecord:
    """Where a model came from; its folder keeps it.

    Args:
        recipe: The `Recipe`.
        data: SHA-256 of the matrices that the training read.
        versions: Of Python and the packages that took part, by name; `backend` is the
            name of Keras' backend.
    """

    recipe: Recipe
    data: str
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        """Writes it as `recipe.json` of a folder."""
        write_json(
            folder / FILE,
            {
                "format": FORMAT,
                "version": VERSION,
                **self.recipe.to_json(),
                "data": self.data,
                "versions": self.versions,
            },
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads what `write` wrote.

        Raises:
            DamagedFileError: A foreign, damaged or newer file.
            ValueError: A setting that is wrong, or a model that is not known.
        """
        values = read_format(folder / FILE, FORMAT, VERSION)
        recipe = {part: each for part, each in values.items() if part in PARTS}
        data, versions = values.get("data"), values.get("versions")
        if not isinstance(data, str) or not isinstance(versions, dict):
            raise DamagedFileError(f"{folder / FILE} has no data or no versions.")
        return cls(Recipe.from_json(recipe), data, versions)


def read_recipe(path: Path) -> Recipe:
    """The recipe of a model's folder, or of a JSON file.

    A file holds `model`, `settings` and `training`, each of which may be left out.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: It is no JSON, or of a newer version.
        ValueError: A setting that is wrong, by its name, or a model that is not known.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no recipe {file}: give the folder of a model, or a JSON file."
        )
    values = read_json(file)
    if not isinstance(values, dict):
        raise DamagedFileError(f"{file} must hold one JSON object.")
    if "format" in values:
        values = read_format(file, FORMAT, VERSION)
    beside = ("format", "version", "data", "versions")
    try:
        return Recipe.from_json({k: v for k, v in values.items() if k not in beside})
    except (ValueError, TypeError, AttributeError) as error:
        raise type(error)(f"{file}: {error}") from None


def versions(backend: str) -> dict[str, str]:
    """Of Python and of the packages that take part in a training, by name."""
    found = {"python": platform.python_version(), "backend": backend}
    names = ["keras-multvae", "keras", "numpy", "scipy", backend]
    if backend == "tensorflow":
        names.append("tensorflow-cpu")
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
