"""Data in which a tenth of the items is held out: what `cold` is measured on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from benchmarks.quality.runs import PAPER, change, read_ratings
from benchmarks.quality.shop import make_shop
from keras_multvae.data import (
    FoldIn,
    Interactions,
    Split,
    read_columns,
    strong_generalization,
)
from keras_multvae.features import ItemFeatures

SHARE = 0.1


class Data(NamedTuple):
    """Clicks, columns and how to read them, and the recipe and held-out users."""

    clicks: Interactions
    ids: list[Any]
    columns: dict[str, Any]
    kinds: dict[str, str]
    recipe: Any
    held_out: tuple[int, int]


def load(name: str, seed: int, ratings: Path | None, movies: Path | None) -> Data:
    if name == "latest-small":
        if ratings is None or movies is None:
            raise SystemExit("--data latest-small needs --ratings and --movies.")
        clicks = read_ratings(ratings)
        ids, columns = read_columns(movies, "movieId", ["genres"])
        return Data(clicks, ids, columns, {}, replace(PAPER, epochs=60), (60, 150))
    clicks, texts = make_shop(seed, informative=name == "shop")
    recipe = change(replace(PAPER, epochs=25, batch_size=200), hidden_dims=())
    columns = {"text": texts}
    return Data(
        clicks, list(range(len(texts))), columns, {"text": "words"}, recipe, (300, 600)
    )


@dataclass
class Draw:
    """Some items held out: what the model is trained on, and what it is asked.

    Args:
        split: Training and validation, over the items that are not held out.
        whole: The same over all items, with the clicks on those held out.
        features: Of all items, those held out last.
        history: CSR (test users, all items), clicks on the others.
        cold: CSR, all clicks of the test users on held-out items.
        warm: CSR, those clicks on the others that are not in the history.
    """

    split: Split
    whole: Split
    features: ItemFeatures
    items: Any
    history: sparse.csr_matrix
    cold: sparse.csr_matrix
    warm: sparse.csr_matrix

    @property
    def known(self) -> int:
        return self.split.train.num_items


def draw_of(data: Data, seed: int) -> Draw:
    split = strong_generalization(data.clicks, *data.held_out, seed=seed)
    items = split.train.items
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(items), bool)
    held_out[rng.choice(len(items), round(SHARE * len(items)), replace=False)] = True
    known, new = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    vocabulary = items.take(np.concatenate([known, new]))
    own = items.take(known)
    row = {item: place for place, item in enumerate(data.ids)}
    columns = {
        name: [values[row[item]] for item in vocabulary.ids.tolist()]
        for name, values in data.columns.items()
    }
    validation, test = split.validation, split.test
    assert validation is not None and test is not None
    inputs, targets = (
        part.with_items(vocabulary).matrix for part in (test.input, test.targets)
    )
    is_new = np.arange(len(items)) >= len(known)
    return Draw(
        _over(own, split.train, validation),
        _over(vocabulary, split.train, validation),
        ItemFeatures.from_columns(columns, data.kinds),
        vocabulary,
        _columns(inputs, ~is_new),
        _columns(inputs + targets, is_new),
        _columns(targets, ~is_new),
    )


def _over(items: Any, train: Interactions, validation: FoldIn) -> Split:
    sides = (part.with_items(items) for part in (validation.input, validation.targets))
    return Split(train.with_items(items), FoldIn(*sides))


def _columns(matrix: Any, kept: np.ndarray) -> sparse.csr_matrix:
    found = sparse.csr_matrix(matrix @ sparse.diags_array(kept.astype("float32")))
    found.eliminate_zeros()
    found.sort_indices()
    return found


def with_clicks(draw: Draw, clicks: int, seed: int) -> Interactions:
    """What the training users clicked, so many times each of the new items."""
    train = draw.whole.train
    matrix = train.matrix.tocsc()
    rng, kept = np.random.default_rng(seed), np.ones(matrix.nnz, bool)
    for item in range(draw.known, matrix.shape[1]):
        own = np.arange(matrix.indptr[item], matrix.indptr[item + 1])
        kept[rng.permutation(own)[clicks:]] = False
    matrix.data = matrix.data * kept
    found = sparse.csr_matrix(matrix)
    found.eliminate_zeros()
    return Interactions.from_matrix(found, users=train.users.ids, items=draw.items.ids)
