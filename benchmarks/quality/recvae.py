"""RecVAE of the package against plain PyTorch, written from the paper.

    KERAS_BACKEND=torch python -m benchmarks.quality.recvae --ratings ratings.csv

Trains them with the same settings on MovieLens latest-small, 5 seeds by default, keeps
the best validation epoch of each, and prints NDCG@100 of the test users for each seed,
the means and the paired differences. Plain PyTorch begins once with its own initial
weights and once with those of the package, Glorot's. The settings are the paper's, but
for batches of 100 and a learning rate of 1e-3: there are 483 training users, so 5 steps
a pass. Finished runs are kept in `--store`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from benchmarks.plain_recvae import PlainRecVAE, RecTrainer
from benchmarks.quality.runs import (
    Store,
    arguments,
    fit_plain,
    fit_recipe,
    load,
    table,
)
from keras_multvae import Recipe, RecVAE
from keras_multvae.data import Split

OURS, PLAIN, GLOROT = "RecVAE", "plain PyTorch", "plain PyTorch, Glorot"


def train_plain(split: Split, recipe: Recipe, glorot: bool) -> PlainRecVAE:
    """The plain model of the best validation epoch."""
    torch.manual_seed(recipe.seed)
    network, clicks = recipe.model, split.train.matrix
    model = PlainRecVAE(clicks.shape[1], network.width, network.latent_dim, glorot)
    trainer = RecTrainer(
        model,
        clicks,
        recipe.batch_size,
        recipe.learning_rate,
        network.gamma,
        network.dropout,
        recipe.seed,
        network.encoder_passes,
        network.decoder_passes,
    )
    return fit_plain(model, trainer.one_pass, recipe.epochs, split)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=100, help="passes over the users")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--gamma", type=float, default=RecVAE.Config().gamma)
    options = parser.parse_args()
    split = load("latest-small", options.ratings)
    recipe = Recipe(
        RecVAE.Config(gamma=options.gamma),
        epochs=options.epochs,
        batch_size=100,
        learning_rate=options.learning_rate,
    )
    store = Store(options.store)
    name = f"{options.epochs} epochs, rate {options.learning_rate}, "
    name += f"gamma {options.gamma}"
    values = {}
    for system in (PLAIN, GLOROT, OURS):

        def fit(seed: int, system: str = system):
            here = replace(recipe, seed=seed)
            if system == OURS:
                return fit_recipe(split, here)[0]
            return train_plain(split, here, glorot=system == GLOROT)

        key = f"{system}, {name}"
        values[system] = store.per_user(key, split, options.seeds, fit)
        means = values[system].mean(axis=1)
        print(f"{system}: {' '.join(f'{mean:.4f}' for mean in means)}", flush=True)
    print(f"\n{table(values, GLOROT)}\n")
    for system in (PLAIN, GLOROT):
        found = values[OURS].mean(axis=1) - values[system].mean(axis=1)
        error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.nan
        print(f"{OURS} - {system}, over seeds: {found.mean():+.4f} +- {error:.4f}")


if __name__ == "__main__":
    main()
