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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse, stats

from benchmarks.quality.held_out import Data, Draw, draw_of, load, with_clicks
from benchmarks.quality.runs import Store, arguments, fit_recipe
from keras_multvae import LinearPath, Recommender, add_linear_path
from keras_multvae.evaluation import values_of_scores
from keras_multvae.features.rows import unit_rows

# Of the others' NDCG@100.
BUDGET = 0.005
WITHOUT, MEAN = "without the new items", "mean vector (with_new_items)"
BY_CONTENT = POPULARITY, COSINE, TF_IDF = (
    "popularity of the features",
    "nearest by content, cosine",
    "nearest by content, TF-IDF",
)
BESIDE = (
    "popularity of the features, beside the model",
    "cosine, beside the model",
    "TF-IDF, beside the model",
    "logit of the nearest item, beside the model",
    "add_items' logits, beside the model",
)
ADDED = "add_items"
# Its arguments warm_loss and boost.
OPTIONS = {
    ADDED: (BUDGET, 0.0),
    "add_items, warm_loss 0.02": (0.02, 0.0),
    "add_items, warm_loss 0.02, boost 0.5": (0.02, 0.5),
}
TRAINED = "trained with clicks on them"
ROWS = (WITHOUT, MEAN, *BY_CONTENT, *BESIDE, *OPTIONS, TRAINED)
# Of the values of a user's new items, in standard deviations of the user's logits.
STRETCHES = (0.5, 1.0, 2.0, 4.0)


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
        WITHOUT: before,
        MEAN: model.with_new_items(len(draw.items)).score(draw.history),
        POPULARITY: np.tile(popularity(draw, counts), (len(before), 1)),
        COSINE: nearest(draw, rare=False),
        TF_IDF: nearest(draw, rare=True),
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
    unit = tf_idf(draw) if rare else unit_rows(draw.features.unit_rows())
    return np.asarray((draw.history @ unit @ unit.T).todense(), "float32")


def tf_idf(draw: Draw) -> Any:
    """The labels of all items, each by the logarithm of how rare it is; unit rows."""
    rows = draw.features.unit_rows()
    count = np.maximum((rows[: draw.known] > 0).sum(axis=0), 1)
    rare = np.log(draw.known / np.asarray(count).ravel())
    return unit_rows(sparse.csr_matrix(rows @ sparse.diags_array(rare)))


def beside_the_model(draw: Draw, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of the model, with those of new items by other means; see above."""
    before, known = found[WITHOUT], draw.known
    logits = before[:, :known]
    center, width = (of(logits, axis=1, keepdims=True) for of in (np.mean, np.std))
    unit = tf_idf(draw)
    nearest_item = np.asarray((unit[known:] @ unit[:known].T).argmax(axis=1)).ravel()
    values = {
        name: found[of][:, known:] for name, of in zip(BESIDE, BY_CONTENT, strict=False)
    }
    tables = {}
    for name, new in values.items():
        scaled = (new - new.mean()) / max(float(new.std()), 1e-9)
        tables[name] = [center + each * width * scaled for each in STRETCHES]
    tables[BESIDE[3]] = [logits[:, nearest_item]]
    tables[BESIDE[4]] = [found[ADDED][:, known:]]
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
    scores[TRAINED] = models[1].score(draw.history)
    return {name: measured(draw, scores[name]) for name in ROWS}


def table(runs: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| | recall@20 of new items | NDCG@100 of the others | change | of all |",
        "| --- | --- | --- | --- | --- |",
    ]
    values = {name: np.array([each[name] for each in runs]) for name in ROWS}
    base = values[WITHOUT][:, 1]
    for name, found in values.items():
        cells = [_cell(found[:, 0]), _cell(found[:, 1])]
        change_of = 100 * (found[:, 1] / base - 1)
        error = stats.sem(change_of) if len(runs) > 1 else np.nan
        cells.append(
            "" if name == WITHOUT else f"{change_of.mean():+.2f} ± {error:.2f}%"
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
