r"""Items that nobody has clicked: recall@20 of them among all, and what it costs.

    KERAS_BACKEND=torch python -m benchmarks.quality.cold --data shop
    KERAS_BACKEND=torch python -m benchmarks.quality.cold --data shop-shuffled
    KERAS_BACKEND=torch python -m benchmarks.quality.cold --data latest-small \
        --ratings ratings.csv --movies movies.csv

A tenth of the items is held out entirely: no click on them trains, validates or is in a
history. Test users have 80% of their clicks on the others as history; all their clicks
on held-out items are to be found (recall@20, of min(20, number)), and so is the rest of
the others' (NDCG@100), both among all items. Each draw holds out other items and other
users and trains anew. The last row is what a training with clicks on them
reaches, and what it costs the others. Errors are standard errors over the draws. Five
to ten minutes.

Rows that are "beside the model" have the model's logits for the others, and for new
items what the row says: the logit of the item that is nearest by content (TF-IDF), or
the value of the row above on the logits' scale, stretched and shifted. Both are held to
what `add_items` costs the others by default: the shift, and of several stretches the
one that finds most, are chosen on the test users themselves, in favour of these rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse, stats

from benchmarks.quality.runs import PAPER, Store, arguments, change, fit_recipe
from benchmarks.quality.shop import make_shop
from keras_multvae import LinearPath, Recommender, add_linear_path
from keras_multvae.data import (
    FoldIn,
    Interactions,
    Split,
    read_columns,
    read_interactions,
    strong_generalization,
)
from keras_multvae.evaluation import values_of_scores
from keras_multvae.features import ItemFeatures

SHARE = 0.1
# Of the others' NDCG@100.
BUDGET = 0.005
BESIDE = (
    "popularity of the features, beside the model",
    "cosine, beside the model",
    "TF-IDF, beside the model",
    "logit of the nearest item, beside the model",
)
ROWS = (
    "without the new items",
    "mean vector (with_new_items)",
    "popularity of the features",
    "nearest by content, cosine",
    "nearest by content, TF-IDF",
    *BESIDE,
    "add_items",
    "add_items, warm_loss 0.02",
    "add_items, warm_loss 0.02, boost 0.5",
    "trained with clicks on them",
)
OPTIONS = {ROWS[9]: (BUDGET, 0.0), ROWS[10]: (0.02, 0.0), ROWS[11]: (0.02, 0.5)}
# Of the values of a user's new items, in standard deviations of the user's logits.
STRETCHES = (0.5, 1.0, 2.0, 4.0)


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
        clicks = read_interactions(
            ratings,
            user_column="userId",
            item_column="movieId",
            rating_column="rating",
            min_rating=4,
            min_user_items=5,
        )
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


def scores_of(draw: Draw, model: Any, clicks: int, seed: int) -> dict[str, np.ndarray]:
    """The scores of all items for the test users, by row of the table."""
    new = draw.items.ids[draw.known :].tolist()
    shop = Recommender(
        model,
        draw.split.train.items,
        histories=draw.split.train,
        features=draw.features.take(np.arange(draw.known)),
    )
    seen = sparse.csr_matrix(draw.history[:, : draw.known])
    before = np.full(draw.history.shape, -1e9, "float32")
    before[:, : draw.known] = model.score(seen)
    counts = np.bincount(draw.split.train.matrix.indices, minlength=draw.known)
    found = {
        ROWS[0]: before,
        ROWS[1]: model.with_new_items(len(draw.items)).score(draw.history),
        ROWS[2]: np.tile(popularity(draw, counts), (len(before), 1)),
        ROWS[3]: nearest(draw, rare=False),
        ROWS[4]: nearest(draw, rare=True),
    }
    late = draw.features.take(np.arange(draw.known, len(draw.items)))
    for name, (budget, boost) in OPTIONS.items():
        grown = shop.add_items(
            new,
            late,
            histories=with_clicks(draw, clicks, seed) if clicks else None,
            judges=draw.split.validation,
            warm_loss=budget,
            boost=boost,
        )
        found[name] = grown.model.score(draw.history)
    return found | beside_the_model(draw, found)


def popularity(draw: Draw, counts: np.ndarray) -> np.ndarray:
    """Clicks of an item; of a new one the mean over those that share its features."""
    (feature,) = draw.features
    labels = feature.matrix
    known = labels[: draw.known]
    of_label = known.T @ counts / np.maximum(np.asarray(known.sum(axis=0)).ravel(), 1)
    own = labels[draw.known :]
    of_new = own @ of_label / np.maximum(np.asarray(own.sum(axis=1)).ravel(), 1)
    return np.concatenate([counts, of_new]).astype("float32")


def nearest(draw: Draw, rare: bool) -> np.ndarray:
    """Cosines of items with what the history's items are on average, by features.

    With `rare`, a label counts by the logarithm of how rare it is.
    """
    unit = tf_idf(draw) if rare else draw.features.unit_rows()
    return np.asarray((draw.history @ unit @ unit.T).todense(), "float32")


def tf_idf(draw: Draw) -> sparse.csr_matrix:
    """The labels of all items, each by the logarithm of how rare it is; unit rows."""
    rows = draw.features.unit_rows()
    count = np.maximum((rows[: draw.known] > 0).sum(axis=0), 1)
    rows = rows @ sparse.diags_array(np.log(draw.known / np.asarray(count).ravel()))
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags_array(1 / np.maximum(norms, 1e-9)) @ rows)


def beside_the_model(draw: Draw, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of the model, with those of new items by other means; see above."""
    before, known = found[ROWS[0]], draw.known
    logits = before[:, :known]
    center, width = (of(logits, axis=1, keepdims=True) for of in (np.mean, np.std))
    unit = tf_idf(draw)
    nearest_item = np.asarray((unit[known:] @ unit[:known].T).argmax(axis=1)).ravel()
    values = {
        name: found[of][:, known:] for name, of in zip(BESIDE, ROWS[2:5], strict=False)
    }
    tables = {}
    for name, new in values.items():
        scaled = (new - new.mean()) / max(float(new.std()), 1e-9)
        tables[name] = [center + each * width * scaled for each in STRETCHES]
    tables[BESIDE[3]] = [logits[:, nearest_item]]
    return {name: held(draw, before, each) for name, each in tables.items()}


def held(draw: Draw, before: np.ndarray, tables: Sequence[np.ndarray]) -> np.ndarray:
    """The table of new items' scores that finds most of them within the budget."""
    most = (1 - BUDGET) * measured(draw, before)[1]
    best, best_recall = before, -1.0
    for table in tables:
        low, high = -100.0, 100.0
        for _ in range(20):
            middle = (low + high) / 2
            scores = before.copy()
            scores[:, draw.known :] = table + middle
            if measured(draw, scores)[1] < most:
                high = middle
            else:
                low = middle
        scores[:, draw.known :] = table + low
        recall = measured(draw, scores)[0]
        if recall > best_recall:
            best, best_recall = scores, recall
    return best


def measured(draw: Draw, scores: np.ndarray) -> tuple[float, float, float]:
    """Recall@20 of the new items, NDCG@100 of the others, and of all."""
    return tuple(  # type: ignore[return-value]
        float(
            values_of_scores(
                metric, scores[there], draw.history[there], targets[there]
            ).mean()
        )
        for metric, targets in (
            ("recall@20", draw.cold),
            ("ndcg@100", draw.warm),
            ("ndcg@100", sparse.csr_matrix(draw.warm + draw.cold)),
        )
        for there in [np.diff(targets.indptr) > 0]
    )


def run(
    data: Data, seed: int, path: bool, clicks: int
) -> dict[str, tuple[float, float, float]]:
    draw = draw_of(data, seed)
    models = []
    for split in (draw.split, draw.whole):
        models.append(fit_recipe(split, replace(data.recipe, seed=seed))[0])
        if path:
            models[-1] = add_linear_path(models[-1], split, LinearPath())
    scores = scores_of(draw, models[0], clicks, seed)
    scores[ROWS[-1]] = models[1].score(draw.history)
    return {name: measured(draw, scores[name]) for name in ROWS}


def table(runs: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| | recall@20 of new items | NDCG@100 of the others | change | of all |",
        "| --- | --- | --- | --- | --- |",
    ]
    values = {name: np.array([each[name] for each in runs]) for name in ROWS}
    base = values[ROWS[0]][:, 1]
    for name, found in values.items():
        cells = [_cell(found[:, 0]), _cell(found[:, 1])]
        change_of = 100 * (found[:, 1] / base - 1)
        error = stats.sem(change_of) if len(runs) > 1 else np.nan
        cells.append(
            "" if name == ROWS[0] else f"{change_of.mean():+.2f} ± {error:.2f}%"
        )
        lines.append(f"| {name} | {' | '.join([*cells, _cell(found[:, 2])])} |")
    return "\n".join(lines)


def _cell(values: np.ndarray) -> str:
    error = stats.sem(values) if len(values) > 1 else np.nan
    return f"{values.mean():.4f} ± {error:.4f}"


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--data", choices=["shop", "shop-shuffled", "latest-small"], default="shop"
    )
    parser.add_argument("--movies", type=Path, help="movies.csv of MovieLens")
    parser.add_argument(
        "--linear-path", action="store_true", help="a linear path beside the network"
    )
    parser.add_argument(
        "--clicks", type=int, default=0, help="that each new item has for add_items"
    )
    options = parser.parse_args(given)
    store, runs = Store(options.store), []
    for seed in range(options.seeds):
        data = load(options.data, seed, options.ratings, options.movies)
        more = (options.linear_path, options.clicks)
        key = f"cold, {options.data}, path {more[0]}, clicks {more[1]}, draw {seed}"
        runs.append(store.get(key, lambda d=data, s=seed, m=more: run(d, s, *m)))
    print(table(runs))


if __name__ == "__main__":
    main()
