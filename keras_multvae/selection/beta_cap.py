"""The KL weight of a model: one training that shows which is best."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from keras_multvae.abilities import HasBeta, require
from keras_multvae.data import Split
from keras_multvae.registry import config_entry
from keras_multvae.tables import ShowsTable, Table
from keras_multvae.training.recipe import CHOSEN_BY as BEST
from keras_multvae.training.recipe import Recipe
from keras_multvae.training.trainer import train

# Epochs that a notebook shows, about.
SHOWN = 8


@dataclass(frozen=True)
class BetaSearch(ShowsTable):
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

    def __repr__(self) -> str:
        return (
            f"BetaSearch(cap={self.cap:.3g}, {BEST}={self.ndcg:.4f}, "
            f"{len(self.history)} epochs)"
        )

    def _table(self) -> Table:
        """The best epoch and some around it."""
        peak = max(range(len(self.history)), key=lambda n: self.history[n][BEST])
        step = max(len(self.history) // SHOWN, 1)
        shown = sorted({peak, *range(0, len(self.history), step)})
        rows = [
            [
                number + 1,
                f"{self.history[number]['beta']:.3f}",
                f"{self.history[number][BEST]:.4f}",
            ]
            for number in shown
        ]
        caption = f"The best beta is {self.cap:.3g}, in epoch {peak + 1}"
        return Table(["epoch", "beta", BEST], rows, caption)


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
