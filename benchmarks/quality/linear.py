r"""What a linear path is worth: linear models, networks, and both, on small data.

    KERAS_BACKEND=torch python -m benchmarks.quality.linear --data demo
    KERAS_BACKEND=torch python -m benchmarks.quality.linear --data latest-small \
        --ratings ratings.csv

Each network is trained by its recipe, 5 seeds; the path, its density and its weight are
chosen on validation users, with LinearPath() as it is. The test users are read once for
each row. Differences are those of each user's mean over the seeds. About ten minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.quality.runs import PAPER, Store, arguments, fit_recipe, load, table
from keras_multvae import EASE, LinearPath, Recipe, add_linear_path
from keras_multvae.cli.demo import RECIPE
from keras_multvae.data import Split

NETWORKS: Mapping[str, Recipe] = {
    "Mult-VAE": PAPER,
    "Mult-VAE, the demo's": replace(RECIPE, linear_path=None),
    "Mult-DAE": replace(PAPER, model="MultDAE"),
}
REFERENCE = "Mult-VAE"


class Fits:
    """Trains each network once, for its row and for that with a path."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.networks: dict[tuple[str, int], Any] = {}
        self.seconds: dict[str, list[float]] = {}

    def network(self, name: str, seed: int) -> Any:
        if (name, seed) not in self.networks:
            start = time.monotonic()
            recipe = replace(NETWORKS[name], seed=seed)
            self.networks[name, seed] = fit_recipe(self.split, recipe)[0]
            self.seconds.setdefault(name, []).append(time.monotonic() - start)
        return self.networks[name, seed]

    def with_path(self, name: str, seed: int) -> Any:
        network = self.networks.pop((name, seed), None) or self.network(name, seed)
        start = time.monotonic()
        model = add_linear_path(network, self.split, LinearPath())
        spent = time.monotonic() - start
        self.seconds.setdefault(f"{name} + path", []).append(spent)
        return model


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--data", choices=["demo", "latest-small"], default="demo")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    options = parser.parse_args(given)
    split = load(options.data, options.ratings)
    store, fits = Store(options.store), Fits(split)
    items = split.train.num_items
    linear = {
        "EASE, l2 100": lambda _: EASE(items, 100.0).fit(split.train),
        "EASE, dropout .5, weights .5, l2 200": lambda _: EASE(
            items, 200.0, 0.5, 0.5
        ).fit(split.train),
        "EASE.tuned": lambda _: EASE.tuned(split),
    }
    values = {
        name: store.per_user(f"{options.data}, {name}", split, 1, fit)
        for name, fit in linear.items()
    }
    for name in options.networks:
        for row, fit in ((name, fits.network), (f"{name} + path", fits.with_path)):
            key = f"{options.data}, {row}"
            values[row] = store.per_user(key, split, options.seeds, partial(fit, name))
    print(table(values, REFERENCE if REFERENCE in values else next(iter(values))))
    print(json.dumps({name: sum(s) / len(s) for name, s in fits.seconds.items()}))


if __name__ == "__main__":
    main()
