"""Your own events, from a data frame to recommendations, on any backend.

    KERAS_BACKEND=jax python examples/own_data.py

The events are made up: listeners of jazz or of rock, a few of both.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from keras_multvae import (
    BetaAnneal,
    MultVAE,
    Popularity,
    Recommender,
    evaluate_ranking,
)
from keras_multvae.data import Interactions, UserBatches, strong_generalization
from keras_multvae.evaluation import paired_difference


def make_events(listeners: int = 600, tracks: int = 40) -> pd.DataFrame:
    """One row a play: who, what; tracks are named after their style."""
    rng = np.random.default_rng(0)
    names = [f"{style} {i:02}" for style in ("jazz", "rock") for i in range(tracks)]
    rows = []
    for listener in range(listeners):
        love_of_jazz = rng.beta(0.3, 0.3)
        style = np.repeat([love_of_jazz, 1 - love_of_jazz], tracks)
        played = rng.choice(names, size=20, p=style / style.sum())
        rows += [(f"listener {listener:03}", track) for track in played]
    return pd.DataFrame(rows, columns=["listener", "track"])


def main() -> None:
    """Prepares, trains, compares with popularity and recommends."""
    interactions = Interactions.from_dataframe(
        make_events(),
        user_column="listener",
        item_column="track",
        min_user_items=5,
        duplicates="count",  # a track played twice counts twice
    )
    split = strong_generalization(interactions, 60, 60)

    model = MultVAE(split.train.num_items, latent_dim=8, hidden_dims=(32,), seed=0)
    model.compile()
    batches = UserBatches(split.train, batch_size=50)
    annealing = BetaAnneal(cap=0.2, total_steps=500)
    model.fit(batches, epochs=40, callbacks=[annealing], verbose=0)

    popularity = Popularity(split.train.num_items).fit(split.train)
    ours = evaluate_ranking(model, split.test)
    baseline = evaluate_ranking(popularity, split.test)
    print(f"Mult-VAE: {ours}\nPopularity: {baseline}")
    difference = paired_difference(ours, baseline, "ndcg@100")
    print(f"NDCG@100 differs by {difference.mean:+.3f}, p = {difference.p:.2g}")

    recommender = Recommender(model, split.train.items, histories=split.train)
    print(recommender.recommend([["jazz 01", "jazz 02"], ["rock 05"]], k=3))
    print(recommender.recommend(user_ids=split.train.users.ids[:1].tolist(), k=3))


if __name__ == "__main__":
    main()
