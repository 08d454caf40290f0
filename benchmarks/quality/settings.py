"""How the demo's settings were chosen: validation NDCG@100, never the test users.

    KERAS_BACKEND=torch python -m benchmarks.quality.settings

Trains each variant with two seeds and prints the best epoch's figure. About 15 minutes.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.quality.runs import change, fit_recipe, load
from keras_multvae import Popularity, Recipe, evaluate_ranking
from keras_multvae.cli.demo import HELD_OUT, RECIPE
from keras_multvae.training.recipe import CHOSEN_BY

PAPER = Recipe("MultVAE", epochs=60, batch_size=100)
VARIANTS = {
    "the paper's widths, dropout 0.5, cap 0.2": PAPER,
    "... dropout 0.3": change(PAPER, dropout=0.3),
    "... dropout 0.7": change(PAPER, dropout=0.7),
    "... cap 1": replace(PAPER, beta_cap=1.0),
    "... cap 2": replace(PAPER, beta_cap=2.0),
    "... width 1000": change(PAPER, hidden_dims=(1000,)),
    "... linear": change(PAPER, hidden_dims=()),
    "the demo's: width 1000, dropout 0.4, cap 0.1": replace(RECIPE, linear_path=None),
}
SEEDS = (0, 1)


def main() -> None:
    split = load("demo")
    popularity = Popularity(split.train.num_items).fit(split.train)
    baseline = evaluate_ranking(popularity, split.validation).mean("ndcg@100")
    print(f"{HELD_OUT} validation users, popularity {baseline:.4f}\n", flush=True)
    print(f"| settings | {' | '.join(f'seed {seed}' for seed in SEEDS)} |")
    print("| --- |" + " --- |" * len(SEEDS))
    for name, recipe in VARIANTS.items():
        cells = []
        for seed in SEEDS:
            _, history = fit_recipe(split, replace(recipe, seed=seed))
            cells.append(f"{max(row[CHOSEN_BY] for row in history):.4f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
