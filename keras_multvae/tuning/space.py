"""What is searched: settings by name, whichever model has them. No Keras here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from keras_multvae import registry
from keras_multvae.abilities import HasBeta, HasItemEmbeddings, can
from keras_multvae.settings import Kind, OneOf, settings_of
from keras_multvae.training.recipe import Recipe, trained_names

if TYPE_CHECKING:
    from optuna import Trial

# Epochs without a better one after which a trial ends: of a RecVAE, five turns of its
# halves, and enough to come back from an update of ImplicitSLIM.
PATIENCE = 20
# A guess of the learning rate where the recipe leaves it to the model.
RATE = 1e-3
# Items above which a catalogue is large: its linear model is sparse (`linear.py`), and
# other guesses come first.
LARGE = 20_000


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, evenly or by its logarithm."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Trial, name: str) -> float:
        """A value by Optuna."""
        if isinstance(self.low, int):
            return trial.suggest_int(name, self.low, int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def nearest(self, value: Any) -> Any:
        """The point for a value that may be out of range."""
        return min(max(value, self.low), self.high)

    def fits(self, kind: Kind) -> bool:
        """Whether a setting of this kind takes all of it."""
        return _takes(kind.check, self.low) and _takes(kind.check, self.high)

    def value(self, point: Any, kind: Kind) -> Any:
        """The setting that a point means."""
        return point


@dataclass(frozen=True)
class Among:
    """One of some values, as the command line writes them."""

    texts: tuple[str, ...]

    def suggest(self, trial: Trial, name: str) -> str:
        """See `Between`."""
        return trial.suggest_categorical(name, self.texts)

    def nearest(self, value: Any) -> Any:
        """See `Between`; the texts have no order, so another value has no point."""
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        return value if value in self.texts else None

    def fits(self, kind: Kind) -> bool:
        """See `Between`."""
        return all(_takes(kind.parse, text) for text in self.texts)

    def value(self, point: Any, kind: Kind) -> Any:
        """See `Between`."""
        return kind.parse(point)


Dimension = Between | Among

# Of whatever model has a setting of that name. A name that is not here is not searched:
# to search a setting of a model from outside, call it as ours do.
OF_MODELS: Mapping[str, Dimension] = {
    "latent_dim": Between(50, 1000, log=True),
    "hidden_dims": Among(("", "600", "1000")),
    "width": Between(200, 1000, log=True),
    "dropout": Between(0.2, 0.85),
    "gamma": Between(0.001, 0.02, log=True),
    "l2": Between(1e-6, 1e-3, log=True),
}
OF_TRAINING: Mapping[str, Dimension] = {
    "learning_rate": Between(2e-4, 4e-3, log=True),
    "user_weight": Between(0.0, 1.0),
    "decay": Among(("none", "cosine")),
}
OF_BETA: Mapping[str, Dimension] = {"beta_cap": Between(0.02, 1.0, log=True)}
OF_EMBEDDINGS: Mapping[str, Dimension] = {"implicit_slim": Among(("none", "updates"))}
# What did best on the data that were measured (docs/results.md), for each model that
# has all of the settings; other settings have their defaults. For a large catalogue,
# those of `GUESSES_LARGE` come before the others.
GUESSES: Sequence[Mapping[str, object]] = (
    {"gamma": 0.004, "latent_dim": 400, "decay": "cosine", "implicit_slim": "updates"},
    {"gamma": 0.0035, "learning_rate": 5e-4},
    {"dropout": 0.7, "user_weight": 0.5, "learning_rate": 2e-3, "decay": "cosine"},
    {"gamma": 0.005, "decay": "cosine"},
    {"hidden_dims": ""},
    {},
    {"hidden_dims": "", "dropout": 0.7, "user_weight": 0.5},
)
_LINEAR = {"hidden_dims": "", "latent_dim": 512, "learning_rate": 2e-3}
GUESSES_LARGE: Sequence[Mapping[str, object]] = (
    {**_LINEAR, "dropout": 0.5, "user_weight": 0.5, "decay": "cosine"},
    {**_LINEAR, "dropout": 0.6, "user_weight": 0.75, "decay": "cosine"},
)


def default_models() -> list[str]:
    """Ours that a recipe trains."""
    return [name for name in trained_names() if name in registry.BUILT_IN]


@dataclass(frozen=True)
class Space:
    """The recipes among which a study looks for the best.

    Args:
        models: Names of models.
        base: What is not searched: its training settings, and its model's for the
            model of that name.

    Raises:
        ValueError: No models, or one that no recipe trains.
    """

    models: tuple[str, ...]
    base: Recipe

    def __post_init__(self) -> None:
        unknown = set(self.models) - set(trained_names())
        if unknown or not self.models:
            raise ValueError(
                f"`models` must be some of {', '.join(trained_names())}. Received: "
                f"{', '.join(self.models) or 'none'}. A model from outside has to be "
                "imported first (--import)."
            )

    def suggest(self, trial: Trial) -> Recipe:
        """The recipe of a trial."""
        name = trial.suggest_categorical("model", self.models)
        recipe = self._default(name)
        dimensions = dict(self._dimensions(recipe))
        found = {
            key: dimension.value(dimension.suggest(trial, key), kind)
            for key, (dimension, kind) in dimensions.items()
        }
        of_model = {k: v for k, v in found.items() if k in recipe.model.arguments()}
        rest = {k: v for k, v in found.items() if k not in of_model}
        return replace(recipe, model=replace(recipe.model, **of_model), **rest)

    def guesses(self, num_items: int) -> list[dict[str, object]]:
        """Points to begin with, for a number of items.

        The models in turns, each with what did best; of them that one first which has
        what did best of all.
        """
        known = [*(GUESSES_LARGE if num_items > LARGE else ()), *GUESSES]
        rows = [list(self._guesses_for(name, known)) for name in self.models]
        rows.sort(key=lambda row: row[0][0])
        longest = max(map(len, rows))
        return [
            row[turn][1] for turn in range(longest) for row in rows if turn < len(row)
        ]

    def _guesses_for(
        self, name: str, known: Sequence[Mapping[str, object]]
    ) -> Iterator[tuple[int, dict[str, object]]]:
        """Yields the initial points for a model, and which of the guesses each is."""
        recipe = self._default(name)
        dimensions = dict(self._dimensions(recipe))
        given = {**recipe.arguments(), **recipe.model.arguments()}
        defaults = {
            key: _as_told(given[key], kind) for key, (_, kind) in dimensions.items()
        }
        if defaults["learning_rate"] is None:
            defaults["learning_rate"] = RATE
        told: list[dict[str, object]] = []
        for place, guess in enumerate(known):
            if not set(guess) <= set(dimensions):
                continue
            point = {
                key: dimension.nearest(guess.get(key, defaults[key]))
                for key, (dimension, _) in dimensions.items()
            }
            # What has no point is left to chance.
            point = {key: each for key, each in point.items() if each is not None}
            if point not in told:
                told.append(point)
                yield place, {"model": name, **point}

    def patient(self, recipe: Recipe) -> Recipe:
        """A recipe whose epochs are known, with the patience of this search.

        A rate that falls may bring nothing new while it is high, and much at the end.
        """
        if self.base.patience is not None:
            return recipe
        assert recipe.epochs is not None
        waits = PATIENCE if recipe.decay == "none" else recipe.epochs // 2
        return replace(recipe, patience=max(PATIENCE, waits))

    def _default(self, name: str) -> Recipe:
        """The recipe of a model, before anything is searched."""
        model = self.base.model if name == self.base.model_name else name
        # Recipe finds the Config of a name.
        return replace(self.base, model=model, linear_path=None)

    def _dimensions(
        self, recipe: Recipe
    ) -> Iterator[tuple[str, tuple[Dimension, Kind]]]:
        """The settings that are searched: by name, the dimension and the kind."""
        tables = [(recipe.model, OF_MODELS), (recipe, OF_TRAINING)]
        model = registry.find(recipe.model_name).model
        for ability, table in (
            (HasBeta, OF_BETA),
            (HasItemEmbeddings, OF_EMBEDDINGS),
        ):
            if can(model, ability):
                tables.append((recipe, table))
        for settings, table in tables:
            kinds = {f.name: f.metadata["kind"] for f in settings_of(settings)}
            for key, dimension in table.items():
                if key in kinds and dimension.fits(kinds[key]):
                    yield key, (dimension, kinds[key])


def _as_told(value: object, kind: Kind) -> Any:
    """The value of a setting in a dimension: for `OneOf`, the name of the class."""
    return kind.name_of(value) if isinstance(kind, OneOf) else value


def _takes(check: Callable[[Any], object], value: object) -> bool:
    """Whether a check accepts a value."""
    try:
        check(value)
    except (ValueError, TypeError):
        return False
    return True
