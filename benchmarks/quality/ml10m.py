r"""ml10m, strong generalisation: the tuned linear model, networks, and both together.

    KERAS_BACKEND=jax python -m benchmarks.quality.ml10m ml10m.npz --split 0
    python -m benchmarks.quality.ml10m ml10m.npz --table
    python -m benchmarks.quality.ml10m ml10m.npz --split 0 --prepare prepared

ml10m.npz holds a binary matrix in CSR form: `indptr`, `indices`, `shape`. Split s has
5,000 validation and 5,000 test users, drawn by `numpy.random.default_rng(s)`. The
linear model is `EASE.tuned`; each network is trained by its recipe below, keeps the
epoch that is best in validation, and is scored alone and with a linear path by the
settings of the linear model, whose density and weight the validation users choose. The
test users are read once for each row. Finished rows are kept in `--store`, one file a
split and row, so that several processes can share the work. `--table` prints what is
there: the mean over the splits, and paired differences over all their test users.
`--prepare` writes the split as a prepared folder, for the commands.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy import sparse, stats

from benchmarks.quality.runs import METRIC, Store, fit_recipe
from keras_multvae import (
    EASE,
    LinearPath,
    MultVAE,
    Recipe,
    RecVAE,
    SlimUpdates,
    add_linear_path,
    evaluate_ranking,
)
from keras_multvae.data import (
    Interactions,
    Split,
    save_prepared,
    strong_generalization,
)
from keras_multvae.evaluation import paired_test

SPLITS, HELD_OUT = (0, 1, 2), 5000
LINEAR = "EASE.tuned"
DECAYING = Recipe(decay="cosine", batch_size=500)
NETWORKS: Mapping[str, Recipe] = {
    "Mult-VAE": replace(
        DECAYING,
        model=MultVAE.Config(dropout=0.7),
        user_weight=0.5,
        learning_rate=2e-3,
        epochs=80,
    ),
    "RecVAE": replace(DECAYING, model=RecVAE.Config(), learning_rate=1e-3, epochs=64),
    "RecVAE, ImplicitSLIM": replace(
        DECAYING,
        model=RecVAE.Config(latent_dim=400, gamma=0.004),
        learning_rate=1e-3,
        epochs=80,
        implicit_slim=SlimUpdates(every=40, l2=500.0, min_clicks=300),
    ),
}


def load(path: Path, number: int) -> Split:
    """The split of a number."""
    with np.load(path) as arrays:
        indices, indptr = arrays["indices"], arrays["indptr"]
        ones = np.ones(len(indices), "float32")
        matrix = sparse.csr_matrix((ones, indices, indptr), tuple(arrays["shape"]))
    generator = np.random.default_rng(number)
    clicks = Interactions.from_matrix(matrix)
    return strong_generalization(clicks, HELD_OUT, HELD_OUT, generator=generator)


def row(model: Any, split: Split, start: float, **more: Any) -> dict[str, Any]:
    """Figures of a model: of validation, and of each test user."""
    assert split.validation is not None
    found = {
        "validation": evaluate_ranking(model, split.validation, [METRIC]).mean(METRIC),
        "test": evaluate_ranking(model, split.test, [METRIC]).values[METRIC].tolist(),
        "seconds": time.monotonic() - start,
        **more,
    }
    told = {name: value for name, value in found.items() if name != "test"}
    print({**told, "test": float(np.nanmean(found["test"]))}, flush=True)
    return found


class Runs:
    """The rows of one split."""

    def __init__(self, data: Path, number: int, store: Path) -> None:
        self.split, self.number, self.store = load(data, number), number, store

    def stored(self, name: str) -> Store:
        return Store(self.store / f"{self.number}, {name}.json")

    def linear(self) -> dict[str, Any]:
        """The row of the linear model, with its settings."""

        def fit() -> dict[str, Any]:
            start = time.monotonic()
            model = EASE.tuned(self.split)
            settings = [model.l2, model.dropout, model.user_weight]
            return row(model, self.split, start, settings=settings)

        return self.stored(LINEAR).get(LINEAR, fit)

    def network(self, name: str, seed: int) -> None:
        """The rows of a network, alone and with a linear path."""
        settings = self.linear()["settings"]
        store, split = self.stored(name), self.split
        if f"{name} + path" in store.runs:
            return
        start = time.monotonic()
        model, history = fit_recipe(split, replace(NETWORKS[name], seed=seed))
        store.get(name, lambda: row(model, split, start, epochs=len(history)))
        start = time.monotonic()
        both = add_linear_path(model, split, LinearPath(*settings))
        path = both.linear_path
        weight = float(keras.ops.convert_to_numpy(path.weight))
        density = path.entries / both.num_items**2
        store.get(
            f"{name} + path",
            lambda: row(both, split, start, weight=weight, density=density),
        )


def table(store: Path) -> str:
    """Markdown of what a folder of rows holds."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for number in SPLITS:
        for path in sorted(store.glob(f"{number}, *.json")):
            for name, found in Store(path).runs.items():
                rows.setdefault(name, []).append(found)
    lines = [
        f"| | validation | test | by split | error over users | minus {LINEAR} | p "
        "| seconds |",
        "| --- " * 8 + "|",
    ]

    def users_of(found: Sequence[Mapping[str, Any]]) -> np.ndarray:
        values = np.concatenate([np.array(each["test"]) for each in found])
        return values[np.isfinite(values)]

    for name, found in sorted(rows.items(), key=lambda r: users_of(r[1]).mean()):
        means = [np.nanmean(each["test"]) for each in found]
        cells = [
            name,
            f"{np.mean([each['validation'] for each in found]):.4f}",
            f"{np.mean(means):.4f}",
            " ".join(f"{mean:.4f}" for mean in means),
            f"{stats.sem(users_of(found)):.4f}",
        ]
        if name == LINEAR or len(found) != len(rows.get(LINEAR, ())):
            cells += ["", ""]
        else:
            cells += paired_test(users_of(found), users_of(rows[LINEAR])).cells()
        cells.append(f"{np.mean([each['seconds'] for each in found]):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="ml10m.npz")
    parser.add_argument("--split", type=int, choices=SPLITS, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS)
    )
    parser.add_argument("--store", type=Path, default=Path("ml10m-runs"))
    parser.add_argument("--table", action="store_true", help="print it, run nothing")
    parser.add_argument("--prepare", type=Path, help="write the split; run nothing")
    options = parser.parse_args()
    if options.prepare is not None:
        save_prepared(load(options.data, options.split), options.prepare)
        return
    if options.table:
        print(table(options.store))
        return
    options.store.mkdir(parents=True, exist_ok=True)
    runs = Runs(options.data, options.split, options.store)
    runs.linear()
    for name in options.networks:
        runs.network(name, options.seed)


if __name__ == "__main__":
    main()
