"""Choosing between models, and the KL weight of one: trains several, compares them."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_multvae.abilities import FitsClicks, HasBeta, Ranks, require
from keras_multvae.baselines import EASE, Popularity
from keras_multvae.data import FoldIn, Split
from keras_multvae.evaluation import (
    CHOSEN_BY,
    DEFAULT_METRICS,
    PairedDifference,
    RankingReport,
    evaluate_ranking,
    paired_difference,
)
from keras_multvae.registry import config_entry
from keras_multvae.training.linear_path import add_linear_path
from keras_multvae.training.recipe import CHOSEN_BY as BEST
from keras_multvae.training.recipe import LinearPath, Recipe
from keras_multvae.training.trainer import train

# l2, dropout and user weight: as published, and what did best on most data.
EASE_SETTINGS = [
    *((l2, 0.0, 0.0) for l2 in (30.0, 100.0, 300.0, 1000.0)),
    *((l2, 0.5, 0.5) for l2 in (50.0, 100.0, 200.0, 400.0)),
]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models side by side on the same test users. Print it for a Markdown table.

    Args:
        reports: The test figures of each model, by its name.
        seconds: Training time by name, of all candidates where there were several.
        chosen: By name, what was trained and taken.
        reference: The name of the model that the others are compared with.
    """

    reports: dict[str, RankingReport]
    seconds: dict[str, float]
    chosen: dict[str, Any]
    reference: str

    def difference(self, name: str, metric: str = CHOSEN_BY) -> PairedDifference:
        """Model `name` minus the reference, user by user, with a paired t-test."""
        return paired_difference(
            self.reports[name], self.reports[self.reference], metric
        )

    def __str__(self) -> str:
        metrics = self.reports[self.reference].metrics
        last = metrics[-1]
        heading = ["model", *metrics, f"{last} - {self.reference}", "p", "training"]
        lines = [_row(heading), _row(["---"] * len(heading))]
        for name, report in self.reports.items():
            cells = [name]
            for metric in metrics:
                error = report.stderr(metric)
                spread = "" if error is None else f" ± {error:.4f}"
                cells.append(f"{report.mean(metric):.4f}{spread}")
            if name == self.reference or last not in report.values:
                cells += ["", ""]
            else:
                cells += self.difference(name, last).cells()
            lines.append(_row([*cells, f"{self.seconds[name]:.1f} s"]))
        return "\n".join(lines)


def compare(
    split: Split,
    models: Mapping[str, Any] | None = None,
    *,
    reference: str | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> Comparison:
    """Trains models on the same data and reports their test figures side by side.

    Is the neural model worth it on my data? `print(compare(split))` answers.

    Args:
        split: With a test part, and a validation part where there is something to
            choose. All train on `split.train`.
        models: By name: a `Recipe`, a baseline (or whatever has its `fit` and
            `score`) yet to be fitted, or a list of either,
            of which the one with the best validation NDCG@100 is taken. By default
            popularity, `EASE` with eight settings, `Recipe()`, and the same with a
            linear path, for which nothing is trained again.
        reference: The name of the model that the others are compared with; the last
            one by default.
        metrics: As for `evaluate_ranking`; the last one is compared.

    Returns:
        `Comparison`.

    Raises:
        ValueError: No test part, an unknown reference, no models, or several
            candidates without a validation part.

    Example:

    >>> import numpy as np
    >>> from keras_multvae.data import Interactions, strong_generalization
    >>> liked = np.random.default_rng(0).random((80, 12)) < 0.5
    >>> clicks = Interactions.from_events(*(axis.tolist() for axis in liked.nonzero()))
    >>> found = compare(
    ...     strong_generalization(clicks, 10, 20),
    ...     {"popularity": Popularity(12), "EASE": [EASE(12, 10), EASE(12, 100)]},
    ... )
    >>> found.reference, list(found.reports)
    ('EASE', ['popularity', 'EASE'])
    """
    if models is None:
        models = default_models(split.train.num_items)
    if split.test is None or not models:
        raise ValueError(
            "compare() needs a split with a test part and at least one model. "
            f"Received: test={split.test}, models={list(models)}."
        )
    reference = list(models)[-1] if reference is None else reference
    if reference not in models:
        raise ValueError(
            f"`reference` must be one of {list(models)}. Received: {reference!r}."
        )
    lists = {
        name: each if isinstance(each, Sequence) else [each]
        for name, each in models.items()
    }
    # What cannot be trained stops it before the first training.
    for candidate in (each for candidates in lists.values() for each in candidates):
        if not isinstance(candidate, Recipe):
            require(candidate, FitsClicks, "compare()")
            require(candidate, Ranks, "compare()")
    reports, seconds, chosen = {}, {}, {}
    networks = _Networks(split, lists)
    for name, candidates in lists.items():
        start = time.monotonic() - networks.seconds_before(candidates)
        model, chosen[name] = _best(split, candidates, networks)
        seconds[name] = time.monotonic() - start
        reports[name] = evaluate_ranking(model, split.test, metrics)
    return Comparison(reports, seconds, chosen, reference)


def default_models(num_items: int) -> dict[str, Any]:
    """What `compare` compares by default, for a number of items."""
    return {
        "popularity": Popularity(num_items),
        "EASE": [EASE(num_items, *settings) for settings in EASE_SETTINGS],
        "Mult-VAE": Recipe(),
        "Mult-VAE + linear path": Recipe(linear_path=LinearPath()),
    }


def _best(
    split: Split, candidates: Sequence[Any], networks: _Networks
) -> tuple[Any, Any]:
    """The best candidate, trained, and the candidate itself."""
    if len(candidates) > 1 and split.validation is None:
        raise ValueError(
            "Choosing among candidates needs a split with a validation part. Received: "
            f"{len(candidates)} candidates and {split}."
        )
    best: tuple[Any, Any] = (None, None)
    best_value = -1.0
    for candidate in candidates:
        # A copy is fitted, so that the weights of those not taken are freed.
        model = networks.trained(copy.copy(candidate))
        value = 0.0
        if len(candidates) > 1:
            assert split.validation is not None
            value = _validate(model, split.validation)
        if value > best_value:
            best, best_value = (model, candidate), value
        del model
    return best


class _Networks:
    """Trains candidates, a network that several differ from by a linear path once.

    Args:
        split: See `compare`.
        lists: The candidates, by name.
    """

    def __init__(self, split: Split, lists: Mapping[str, Sequence[Any]]) -> None:
        self._split = split
        recipes = [
            _network_of(each)
            for candidates in lists.values()
            for each in candidates
            if isinstance(each, Recipe)
        ]
        self._shared = [each for each in recipes if recipes.count(each) > 1]
        self._known: list[tuple[Recipe, Any, float]] = []

    def trained(self, candidate: Any) -> Any:
        """The candidate, trained or fitted."""
        if not isinstance(candidate, Recipe):
            return candidate.fit(self._split.train)
        model = self._network(_network_of(candidate))
        if candidate.linear_path is None:
            return model
        return add_linear_path(model, self._split, candidate.linear_path)

    def seconds_before(self, candidates: Sequence[Any]) -> float:
        """What the networks of these took, as far as they are trained already."""
        recipes = [_network_of(each) for each in candidates if isinstance(each, Recipe)]
        return sum(seconds for known, _, seconds in self._known if known in recipes)

    def _network(self, recipe: Recipe) -> Any:
        for known, model, _ in self._known:
            if known == recipe:
                return model
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "state"
            model, _ = train(self._split, recipe, state, save_every=1e9)
        if recipe in self._shared:
            self._known.append((recipe, model, time.monotonic() - start))
        return model


def _network_of(recipe: Recipe) -> Recipe:
    return replace(recipe, linear_path=None)


def _validate(model: Any, validation: FoldIn) -> float:
    return evaluate_ranking(model, validation, [CHOSEN_BY]).mean(CHOSEN_BY)


@dataclass(frozen=True)
class BetaSearch:
    """What `find_beta_cap` found.

    Args:
        cap: Float, the beta at which validation NDCG@100 was best.
        ndcg: Float, that NDCG@100.
        history: One dict an epoch, with `beta` and `val_ndcg_at_100` among others;
            `plot_annealing` takes it.
    """

    cap: float
    ndcg: float
    history: list[dict[str, float]]


def find_beta_cap(split: Split, recipe: Recipe | None = None) -> BetaSearch:
    """Chooses the cap of beta as the paper does: anneal to 1 once, take the peak.

    One training in which beta rises linearly and reaches 1 with the last step. Train
    again with `replace(recipe, beta_cap=found.cap)`. The peak
    tells of beta only if the model has learnt long before beta gets near 1; on small
    data it may not have, and the cap comes out too high (docs/results.md).

    Args:
        split: With a validation part.
        recipe: The settings; its own cap and annealing are not used. By default
            `Recipe()`.

    Returns:
        `BetaSearch`.

    Raises:
        ValueError: No validation part.
        TypeError: A recipe for a model without a beta.

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.2.2
    """
    recipe = Recipe() if recipe is None else recipe
    if split.validation is None:
        raise ValueError(
            "find_beta_cap() needs a split with a validation part. Received: "
            "validation=None."
        )
    require(config_entry(recipe.model).model, HasBeta, "find_beta_cap()")
    batch_size, epochs = recipe.sizes(split.train.num_users)
    steps = epochs * -(-split.train.num_users // batch_size)
    rising = replace(recipe, beta_cap=1.0, anneal_steps=float(steps))
    with tempfile.TemporaryDirectory() as folder:
        _, history = train(split, rising, Path(folder) / "state", save_every=1e9)
    best = max(history, key=lambda row: row[BEST])
    return BetaSearch(best["beta"], best[BEST], history)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
