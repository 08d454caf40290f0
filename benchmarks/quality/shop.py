"""A made-up shop: what people buy follows from what things are, and texts say that.

Each thing has a main theme and a second one out of 50, each person likes four. A text
has 12 words of its themes and 24 that say nothing, of a vocabulary that all share, as
descriptions have them. How popular a thing is, its text does not tell.
"""

from __future__ import annotations

import numpy as np

from keras_multvae.data import Interactions

USERS, ITEMS, THEMES, CLICKS = 6000, 1500, 50, 25
OWN_WORDS, ANY_WORDS, WORDS, COMMON = 12, 24, 600, 300
STRENGTH, POPULARITY = 10.0, 0.5


def make_shop(seed: int, informative: bool = True) -> tuple[Interactions, list[str]]:
    """Clicks, and a text for each item id (0, 1, ...).

    Without `informative`, texts are those of other things, drawn at random.
    """
    rng = np.random.default_rng(seed)
    taste, theme = np.zeros((USERS, THEMES)), np.zeros((ITEMS, THEMES))
    for user in range(USERS):
        liked = rng.choice(THEMES, 4, replace=False)
        taste[user, liked] = rng.dirichlet(np.full(4, 2.0))
    for item in range(ITEMS):
        theme[item, rng.choice(THEMES, 2, replace=False)] = [0.8, 0.2]
    wanted = STRENGTH * (taste @ theme.T) + rng.normal(0, POPULARITY, ITEMS)
    # The largest of logits plus Gumbel noise are a draw without replacement.
    order = np.argsort(-(wanted + rng.gumbel(size=wanted.shape)), axis=1)
    counts = np.clip(rng.poisson(CLICKS, USERS), 8, None)
    users = np.repeat(np.arange(USERS), counts)
    items = np.concatenate([order[u, :n] for u, n in enumerate(counts)])
    words = rng.dirichlet(np.full(WORDS, 0.02), THEMES)
    common = 1 / np.arange(5, 5 + COMMON)
    texts = []
    for of_item in theme:
        own = rng.choice(WORDS, OWN_WORDS, p=of_item @ words)
        any_ = rng.choice(COMMON, ANY_WORDS, p=common / common.sum())
        texts.append(" ".join([*(f"w{n}" for n in own), *(f"any{n}" for n in any_)]))
    if not informative:
        texts = [texts[item] for item in rng.permutation(ITEMS)]
    return Interactions.from_events(users, items), texts
