"""Trains several models on the same data and compares them."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_multvae.abilities import FitsClicks, Ranks, require
from keras_multvae.baselines import EASE, Popularity, SparseEASE
from keras_multvae.data import FoldIn, Split
from keras_multvae.evaluation import (
    CHOSEN_BY,
    DEFAULT_METRICS,
    RankingReport,
    evaluate_ranking,
)
from keras_multvae.progress import console
from keras_multvae.selection.comparison import Candidate, Comparison
from keras_multvae.training.additions import LinearPath
from keras_multvae.training.linear_path import add_linear_path, check_choice
from keras_multvae.training.recipe import Recipe
from keras_multvae.training.trainer import train
from keras_multvae.typing import Model

# l2, dropout and user weight: as published, and what did best on most data.
EASE_SETTINGS = [
    *((l2, 0.0, 0.0) for l2 in (30.0, 100.0, 300.0, 1000.0)),
    *((l2, 0.5, 0.5) for l2 in (50.0, 100.0, 200.0, 400.0)),
]


def compare(
    split: Split,
    models: Mapping[str, Candidate | Sequence[Candidate]] | None = None,
    *,
    reference: str | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    progress: bool = False,
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
        progress: Bool, whether to tell on standard error of each model that is done.

    Returns:
        `Comparison`, with the trained models.

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
    _check(split, lists)
    reports, seconds, chosen, trained = {}, {}, {}, {}
    networks = _Networks(split, lists)
    for name, candidates in lists.items():
        start = time.monotonic() - networks.seconds_before(candidates)
        trained[name], chosen[name] = _best(split, candidates, networks)
        seconds[name] = time.monotonic() - start
        reports[name] = evaluate_ranking(trained[name], split.test, metrics)
        if progress:
            console.print(_words(name, reports[name], seconds[name]), markup=False)
    return Comparison(reports, seconds, chosen, reference, trained)


def default_models(num_items: int) -> dict[str, Candidate | Sequence[Candidate]]:
    """What `compare` compares by default, for a number of items."""
    path = LinearPath.of_size(num_items)
    linear = EASE if path.neighbours is None else SparseEASE
    return {
        "popularity": Popularity(num_items),
        linear.__name__: [linear(num_items, *each) for each in EASE_SETTINGS],
        "Mult-VAE": Recipe(),
        "Mult-VAE + linear path": Recipe(linear_path=path),
    }


def _check(split: Split, lists: Mapping[str, Sequence[Candidate]]) -> None:
    """Raises what the training of one of the candidates would end in."""
    for candidates in lists.values():
        if len(candidates) > 1 and split.validation is None:
            raise ValueError(
                "Choosing among candidates needs a split with a validation part. "
                f"Received: {len(candidates)} candidates and {split}."
            )
        for candidate in candidates:
            if not isinstance(candidate, Recipe):
                require(candidate, FitsClicks, "compare()")
                require(candidate, Ranks, "compare()")
            elif candidate.linear_path is not None:
                check_choice(split, candidate.linear_path)


def _words(name: str, report: RankingReport, seconds: float) -> str:
    """A line on a model that is done."""
    metric = report.metrics[-1]
    error = report.stderr(metric)
    spread = "" if error is None else f" ± {error:.4f}"
    return f"{name}: {metric} {report.mean(metric):.4f}{spread}, {seconds:.1f} s"


def _best(
    split: Split, candidates: Sequence[Candidate], networks: _Networks
) -> tuple[Model, Candidate]:
    """The best candidate, trained, and the candidate itself."""
    best: tuple[Model, Candidate] | None = None
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
    assert best is not None
    return best


class _Networks:
    """Trains candidates, a network that several differ from by a linear path once.

    Args:
        split: See `compare`.
        lists: The candidates, by name.
    """

    def __init__(self, split: Split, lists: Mapping[str, Sequence[Candidate]]) -> None:
        self._split = split
        recipes = [
            _network_of(each)
            for candidates in lists.values()
            for each in candidates
            if isinstance(each, Recipe)
        ]
        self._shared = [each for each in recipes if recipes.count(each) > 1]
        self._known: list[tuple[Recipe, Model, float]] = []

    def trained(self, candidate: Candidate) -> Any:
        """The candidate, trained or fitted."""
        if not isinstance(candidate, Recipe):
            return candidate.fit(self._split.train)
        model = self._network(_network_of(candidate))
        if candidate.linear_path is None:
            return model
        return add_linear_path(model, self._split, candidate.linear_path)

    def seconds_before(self, candidates: Sequence[Candidate]) -> float:
        """What the networks of these took, as far as they are trained already."""
        recipes = [_network_of(each) for each in candidates if isinstance(each, Recipe)]
        return sum(seconds for known, _, seconds in self._known if known in recipes)

    def _network(self, recipe: Recipe) -> Model:
        """The trained network of a recipe, which may be shared by candidates."""
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
    """A recipe without its linear path."""
    return replace(recipe, linear_path=None)


def _validate(model: Model, validation: FoldIn) -> float:
    """The validation NDCG@100 of a model."""
    return evaluate_ranking(model, validation, [CHOSEN_BY]).mean(CHOSEN_BY)
