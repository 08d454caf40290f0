"""What each kind of model costs: training, memory, ranking, and one answer.

    KERAS_BACKEND=torch python -m benchmarks.quality.cost ml10m.npz

On the training users of split 0 of ml10m (see `benchmarks.quality.ml10m`): seconds of
one pass over them after a first one, in batches of 500 (of a linear model: of its fit);
MiB of what is needed to rank; users a second of `rank`, the best 100 of all test users;
milliseconds of an answer to one history by `Recommender.recommend` and, with
TensorFlow, by the exported SavedModel, called in this process. Medians of rounds in
which the models take turns. The weights are those after two passes: costs do not depend
on how good they are. A path's share of B is what stands behind its name. Run it on a
machine that does nothing else; about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.quality.ml10m import load
from keras_multvae import (
    EASE,
    MultVAE,
    Recommender,
    RecVAE,
    export_saved_model,
)
from keras_multvae.data import UserBatches
from keras_multvae.ranking import rank

DENSITIES = (0.001, 0.003, 0.01)
K, REQUESTS = 100, 100


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def networks(split: Any) -> dict[str, tuple[Any, float]]:
    """Models by name, with the seconds of a pass."""
    found = {}
    for name, cls in (("Mult-VAE", MultVAE), ("RecVAE", RecVAE)):
        model: Any = cls(split.train.num_items, seed=0)
        model.compile()
        batches = UserBatches(split.train, 500, seed=0)
        model.fit(batches, epochs=1, verbose=0)
        passing = seconds_of(lambda m=model, b=batches: m.fit(b, verbose=0))
        found[name] = (model, passing)
        print(f"{name}: {passing:.1f} s a pass", flush=True)
    return found


def mebibytes(model: Any) -> float:
    """What ranking needs of a model."""
    if not isinstance(model, keras.Model):
        return float(model.weights.nbytes) / 2**20
    weights = [w for w in model.weights if not w.path.startswith("old_encoder")]
    return sum(np.prod(w.shape) * 4 for w in weights) / 2**20


def one_answer(model: Any, split: Any) -> Callable[[], object]:
    """Answers to single histories, as a page asks for them."""
    recommender = Recommender(model, split.train.items)
    ids = split.train.items.ids
    rows = split.test.input.matrix
    histories = [ids[rows[row].indices].tolist() for row in range(REQUESTS)]

    def work() -> None:
        for history in histories:
            recommender.recommend(history, k=10)

    return work


def one_served_answer(model: Any, split: Any, folder: Path) -> Callable[[], object]:
    """The same by the signature of a SavedModel."""
    import tensorflow as tf

    recommender = Recommender(model, split.train.items)
    signature = tf.saved_model.load(
        str(export_saved_model(recommender, folder))
    ).signatures["serving_default"]
    rows = split.test.input.matrix
    ids = np.asarray(split.train.items.ids)
    histories = [
        tf.constant([ids[rows[row].indices]], "int64") for row in range(REQUESTS)
    ]

    def work() -> None:
        for history in histories:
            signature(item_ids=history)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="ml10m.npz")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    split = load(options.data, 0)
    start = time.perf_counter()
    linear = EASE(split.train.num_items, 100.0, 0.33, 0.5).fit(split.train)
    models: dict[str, tuple[Any, float]] = {
        "EASE": (linear, time.perf_counter() - start)
    }
    for name, (model, passing) in networks(split).items():
        models[name] = (model, passing)
        for density in DENSITIES:
            both = model.with_linear_path(linear.cut(density), 8.0)
            models[f"{name} + path, {density:.1%}"] = (both, 0.0)
    users = split.test.num_users
    work: dict[tuple[str, str], Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, _) in models.items():
            histories = split.test.input.matrix
            work[name, "rank"] = lambda m=model, h=histories: list(rank(m, h, K))
            work[name, "answer"] = one_answer(model, split)
            if isinstance(model, keras.Model):
                served = one_served_answer(model, split, Path(folder, name))
                work[name, "served"] = served
        for each in work.values():
            each()
        times: dict[tuple[str, str], list[float]] = {key: [] for key in work}
        for _ in range(options.rounds):
            for key, each in work.items():
                times[key].append(seconds_of(each))
    median = {key: statistics.median(found) for key, found in times.items()}
    print("| | seconds a pass | MiB | ranked users/s | an answer, ms | served, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (model, passing) in models.items():
        answer = median[name, "answer"] / REQUESTS * 1e3
        served = median.get((name, "served"))
        print(
            f"| {name} | {f'{passing:.1f}' if passing else ''} | {mebibytes(model):.0f}"
            f" | {users / median[name, 'rank']:,.0f} | {answer:.2f} | "
            f"{f'{served / REQUESTS * 1e3:.2f}' if served else ''} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
