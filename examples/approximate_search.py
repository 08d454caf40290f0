"""Recommendations by approximate search: the items as an index of vectors.

    pip install usearch
    python examples/approximate_search.py

The decoder's last layer is a product of a user's vector with those of all items, so any
library for maximum inner product search finds the best items without going through all
of them. Here usearch does on MovieLens, beside the exact ranking. A catalogue of a few
thousand films does not need it; one of millions does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from usearch.index import Index

from keras_multvae import BetaAnneal, MultVAE, Recommender
from keras_multvae.data import UserBatches, load_movielens, strong_generalization

K = 100


def main() -> None:
    """Trains a small model, then compares an index with the exact ranking."""
    interactions, titles = load_movielens("demo")
    split = strong_generalization(interactions, 60, 60)
    model = MultVAE(split.train.num_items, latent_dim=64, hidden_dims=(200,), seed=0)
    model.compile()
    annealing = BetaAnneal(cap=0.2, total_steps=500)
    batches = UserBatches(split.train, batch_size=100)
    model.fit(batches, epochs=20, callbacks=[annealing], verbose=0)
    users = split.test.input
    recommender = Recommender(model, split.train.items, histories=users, titles=titles)

    queries = recommender.query_vectors(user_ids="all")
    items = recommender.item_vectors()
    index = Index(ndim=items.shape[1], metric="ip", dtype="f32")
    index.add(np.arange(len(items)), items)

    # The seen items are among those found, so ask for that many more.
    seen = [set(row.indices.tolist()) for row in users.matrix]
    most = max(map(len, seen))

    def approximate(user: int) -> np.ndarray:
        found = index.search(queries[user], K + most, exact=False).keys
        return np.array([item for item in found if item not in seen[user]][:K])

    def exact(user: int) -> np.ndarray:
        logits = items @ queries[user]
        logits[list(seen[user])] = -np.inf
        best = np.argpartition(-logits, K)[:K]
        return best[np.argsort(-logits[best])]

    everyone = range(len(queries))
    wanted, exact_time = timed(exact, everyone)
    found, approximate_time = timed(approximate, everyone)
    recall = np.mean(
        [len(set(a) & set(b)) / K for a, b in zip(found, wanted, strict=True)]
    )
    print(f"{len(items):,} items, {len(queries)} users, {items.shape[1]} dimensions")
    print(f"recall@{K} against exact search: {recall:.3f}")
    print(f"one user: {exact_time:.2f} ms exact, {approximate_time:.2f} ms by index")

    user = users.users.ids[0]
    best = recommender.items.ids[found[0][:5]]
    print(f"user {user}: " + ", ".join(titles[item] for item in best.tolist()))


def timed(search: Callable[[int], Any], users: range) -> tuple[list[Any], float]:
    """Answers for all users, and the median of their milliseconds."""
    answers, seconds = [], []
    for user in users:
        start = time.perf_counter()
        answers.append(search(user))
        seconds.append(time.perf_counter() - start)
    return answers, 1000 * float(np.median(seconds))


if __name__ == "__main__":
    main()
