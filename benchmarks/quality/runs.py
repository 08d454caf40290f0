"""Data, seeds and stored runs that the quality benchmarks share."""

from __future__ import annotations

import argparse
import copy
import functools
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from keras_multvae import Recipe, evaluate_ranking, train
from keras_multvae.cli.demo import HELD_OUT
from keras_multvae.data import (
    Interactions,
    Split,
    load_movielens,
    read_interactions,
    strong_generalization,
)
from keras_multvae.evaluation import paired_test
from keras_multvae.files import write_json

METRIC = "ndcg@100"
# The paper's network and optimiser; batches of 100, or there would be 5 steps an epoch.
PAPER = Recipe("MultVAE", epochs=100, batch_size=100, learning_rate=1e-3)
# The paper's Mult-DAE is I-200-I, which is what its name alone stands for.
PAPER_DAE = replace(PAPER, model="MultDAE")


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("runs.json"),
        help="file of finished runs, which are not done again",
    )
    parser.add_argument(
        "--ratings",
        type=Path,
        help="ratings.csv of MovieLens latest-small, in place of a download",
    )
    return parser


def read_ratings(file: Path) -> Interactions:
    """MovieLens' ratings of 4 and more, of users with five of these at least."""
    return read_interactions(
        file,
        user_column="userId",
        item_column="movieId",
        rating_column="rating",
        min_rating=4,
        min_user_items=5,
    )


def load(name: str, ratings: Path | None = None) -> Split:
    """Strong generalisation of the demo's set or of MovieLens latest-small."""
    if name == "latest-small" and ratings is not None:
        interactions = read_ratings(ratings)
    else:
        interactions, _ = load_movielens(name)
    return strong_generalization(interactions, HELD_OUT, HELD_OUT)


class Store:
    """Finished runs in a JSON file, so that an interrupted benchmark goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = json.loads(path.read_text()) if path.is_file() else {}

    def get(self, key: str, run: Callable[[], Any]) -> Any:
        """What `run` gave under this key, now or earlier."""
        if key not in self.runs:
            self.runs[key] = run()
            write_json(self.path, self.runs)
            print(f"done: {key}", flush=True)
        return self.runs[key]

    def per_user(
        self, name: str, split: Split, seeds: int, fit: Callable[[int], Any]
    ) -> np.ndarray:
        """Test NDCG@100, float64 (seeds, users), of the model that `fit` gives."""

        def run(seed: int) -> list[float]:
            report = evaluate_ranking(fit(seed), split.test, [METRIC])
            return report.values[METRIC].tolist()

        return np.array(
            [
                self.get(f"{name}, seed {seed}", functools.partial(run, seed))
                for seed in range(seeds)
            ]
        )


def change(recipe: Recipe, **settings: Any) -> Recipe:
    """The recipe with other settings of its model."""
    return replace(recipe, model=replace(recipe.model, **settings))


def fit_recipe(split: Split, recipe: Recipe) -> tuple[Any, list[dict[str, float]]]:
    """The model of the best validation epoch, and the history."""
    with tempfile.TemporaryDirectory() as folder:
        return train(split, recipe, Path(folder) / "state", save_every=1e9)


def fit_plain(
    model: Any, one_pass: Callable[[], Any], epochs: int, split: Split
) -> Any:
    """A PyTorch model as it was after the pass that is best in validation."""
    best, best_state = -1.0, None
    for _ in range(epochs):
        one_pass()
        ndcg = evaluate_ranking(model, split.validation).mean(METRIC)
        if ndcg > best:
            best, best_state = ndcg, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    return model


def table(
    values: dict[str, np.ndarray],
    reference: str,
    epochs: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Markdown: mean, standard errors over users and seeds, paired difference.

    `epochs` are the best epochs of each seed, for a column with the least and the most.
    """
    heading = ["", "NDCG@100", "error over users", "sd over seeds"]
    heading += [f"minus {reference}", "p"]
    if epochs is not None:
        heading.append("best epochs")
    lines = [f"| {' | '.join(heading)} |", "| --- " * len(heading) + "|"]
    base = values[reference].mean(axis=0)
    for name, runs in values.items():
        users = runs.mean(axis=0)
        spread = f"{runs.mean(axis=1).std(ddof=1):.4f}" if len(runs) > 1 else ""
        cells = [name, f"{users.mean():.4f}", f"{stats.sem(users):.4f}", spread]
        if name == reference:
            cells += ["", ""]
        else:
            # Each user's mean over the seeds: the users are what is sampled.
            cells += paired_test(users, base).cells()
        if epochs is not None:
            found = epochs.get(name)
            cells.append(f"{min(found)} to {max(found)}" if found else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
