"""Items that nobody has clicked yet, and lists that are more than accurate.

    KERAS_BACKEND=torch python examples/new_items.py

A made-up shop of 500 things with a text and a colour each; 25 of them arrive after the
training. No network is needed; half a minute.
"""

from __future__ import annotations

import numpy as np

from keras_multvae import (
    ItemFeatures,
    MultVAE,
    Recommender,
    Reranking,
    evaluate_ranking,
)
from keras_multvae.data import FoldIn, Interactions, Vocabulary, strong_generalization

THINGS, NEW, PEOPLE, THEMES = 500, 25, 3000, 25
rng = np.random.default_rng(0)

# What things are about, what people like, and what they click.
theme = rng.integers(THEMES, size=THINGS)
liked = np.array([rng.choice(THEMES, 2, replace=False) for _ in range(PEOPLE)])
likes = (theme == liked[:, :1]) | (theme == liked[:, 1:])
users, things = np.nonzero(rng.random(likes.shape) < np.where(likes, 0.4, 0.004))
columns = {
    "text": [" ".join(rng.choice([f"word{t}{n}" for n in range(9)], 5)) for t in theme],
    "colour": rng.choice(["red", "green", "blue"], THINGS, p=[0.6, 0.3, 0.1]).tolist(),
}
kinds = {"text": "words"}

# The last ones are not there yet. What is left of the clicks is split and trained on.
known = THINGS - NEW
before = things < known
clicks = Interactions.from_events(users[before], things[before], min_user_items=5)
split = strong_generalization(clicks, 200, 300)
items = split.train.items
model = MultVAE(len(items), latent_dim=32, hidden_dims=(), seed=0)
model.compile()
model.fit(split.train, batch_size=100, epochs=20, verbose=0)


def of(ids: list[int]) -> dict[str, list[str]]:
    """The columns of some things."""
    return {name: [values[item] for item in ids] for name, values in columns.items()}


shop = Recommender(
    model,
    items,
    histories=split.histories(),
    features=ItemFeatures.from_columns(of(items.ids.tolist()), kinds),
)

# They arrive: a text and a colour are all that is known of them.
new = list(range(known, THINGS))
grown = shop.add_items(new, of(new), judges=split.validation)
print(f"{len(items)} things, and {len(grown.items) - len(items)} new ones.")
print(f"Chosen on known things that stood for new ones: {grown.calibration}\n")

# Do they reach the people who will like them? Test users were in no training.
test = split.test
assert test is not None
wide = Vocabulary(grown.items.ids)
later = Interactions.from_events(users[~before], things[~before]).with_items(wide)
rows = later.users.lookup(test.input.users.ids)
buyers = np.flatnonzero(rows >= 0)
asked = FoldIn(
    test.input.with_items(wide).select_users(buyers), later.select_users(rows[buyers])
)
for name, ranks in {
    "mean of all things": model.with_new_items(THINGS),
    "add_items": grown.model,
}.items():
    report = evaluate_ranking(ranks, asked, ["recall@20"])
    print(f"{name:<20} recall@20 of the new things {report.mean('recall@20'):.3f}")
before_and_after = [
    evaluate_ranking(ranks, fold_in, ["ndcg@100"]).mean("ndcg@100")
    for ranks, fold_in in (
        (model, test),
        (
            grown.model,
            FoldIn(test.input.with_items(wide), test.targets.with_items(wide)),
        ),
    )
]
print("NDCG@100 of the others {:.4f}, before {:.4f}\n".format(*before_and_after[::-1]))

# Lists that are more than accurate: what each wish costs and brings.
measures = ["ndcg@10", "diversity@10", "miscalibration@10"]
wishes = {
    "as ranked": None,
    "diverse": Reranking(diversity=0.3),
    "colours as in the history": Reranking(calibration=0.5, by="colour"),
    "at most 5 of a colour": Reranking(at_most=5, by="colour"),
}
print("ten places, by colour:")
for name, wish in wishes.items():
    found = grown.recommend(test.input, k=10, rerank=wish)
    colours = [[columns["colour"][item] for item in own] for own in found.items]
    red = np.mean([own.count("red") for own in colours])
    kinds_of = np.mean([len(set(own)) for own in colours])
    print(f"{name:<26} {red:.1f} red of 10, {kinds_of:.2f} colours a list")
report = evaluate_ranking(
    grown.model,
    FoldIn(test.input.with_items(wide), test.targets.with_items(wide)),
    measures,
    train=split.train.with_items(wide),
    features=grown.features,
    label="colour",
)
print(report)
