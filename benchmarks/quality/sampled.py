"""The quality of a sampled softmax beside that of the full one.

    KERAS_BACKEND=torch python -m benchmarks.quality.sampled --ratings ratings.csv

5 seeds of each on MovieLens latest-small or the demo's set, with the settings of
`benchmarks.quality.likelihoods`; the test NDCG@100 of the epoch that is best in
validation.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.quality.runs import (
    METRIC,
    PAPER,
    Store,
    arguments,
    change,
    fit_recipe,
    load,
)
from benchmarks.quality.runs import table as quality_table
from keras_multvae import Recipe, SampledSoftmax, evaluate_ranking


def sampled(num_sampled: int = 2000, **settings: Any) -> Recipe:
    """The paper's recipe with a sampled softmax."""
    return change(PAPER, head=SampledSoftmax(num_sampled, **settings))


REFERENCE = "full softmax"
VARIANTS = {
    REFERENCE: PAPER,
    "2,000 log-uniform": sampled(),
    "2,000 by popularity": sampled(sampler="popularity"),
    "2,000 in batch": sampled(sampler="in_batch"),
    "500 log-uniform": sampled(500),
    "2,000 log-uniform, tied": change(sampled(), tied=True),
    "2,000 log-uniform, 16-bit tables": sampled(embedding_dtype="bfloat16"),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", default="latest-small")
    options = parser.parse_args()
    split = load(options.data, options.ratings)
    store = Store(options.store)

    def run(recipe: Recipe) -> dict[str, Any]:
        model, history = fit_recipe(split, recipe)
        values = evaluate_ranking(model, split.test, [METRIC]).values[METRIC]
        best = max(history, key=lambda row: row["val_ndcg_at_100"])
        return {"test": values.tolist(), "epoch": best["epoch"]}

    runs = {
        name: [
            store.get(
                f"{options.data}: {name}, seed {seed}",
                partial(run, replace(recipe, seed=seed)),
            )
            for seed in range(options.seeds)
        ]
        for name, recipe in VARIANTS.items()
    }
    values = {n: np.array([run["test"] for run in found]) for n, found in runs.items()}
    epochs = {name: [run["epoch"] for run in found] for name, found in runs.items()}
    print(quality_table(values, REFERENCE, epochs))


if __name__ == "__main__":
    main()
