"""Impossible indices, rows and values into everything that reads a matrix.

    KERAS_BACKEND=jax python -m benchmarks.reliability.indices --seed 0 --tries 300

Each try forges one number of an array, in a folder with checksums that are right
again or in one without, as earlier versions wrote it, and reads it into a consumer in
a process of its own. It must be refused in one line that names the file, or be a
number that is allowed there, with which everything ends well.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability import folders, forging
from benchmarks.reliability.bits import REFUSALS
from benchmarks.reliability.faults import forked, warm
from benchmarks.reliability.tries import Tries, options

ARRAYS = ("indptr", "indices", "data", "fractions", "positions", "user_weights")


def main() -> None:
    given = options(__doc__ or "", 300).parse_args()
    tries = Tries(given)
    warm()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made, _ = forked(partial(folders.make, folder, ("prepared", "multvae")))
        if made.error or made.signal:
            raise RuntimeError(made.said)
        kinds = {f"{c}, {a}": 0 for c in CONSUMERS for a in ARRAYS}
        tries.run(kinds, partial(attack, folder))
    print(f"Backend: {os.environ.get('KERAS_BACKEND')}.")
    print(tries.table())


def attack(folder: Path, name: str, rng: np.random.Generator) -> tuple[str, bool]:
    consumer, array = name.split(", ")
    with tempfile.TemporaryDirectory() as copies:
        copy = Path(copies) / "copy"
        kind = "multvae" if consumer == "recommend --all" else "prepared"
        shutil.copytree(folder / kind, copy)
        part = copy / ("histories" if kind == "multvae" else "train")
        file = part / f"{array}.npy"
        values = np.load(file)
        odd = forging.odd_values(array, len(values))
        value, at = odd[rng.integers(len(odd))], int(rng.integers(len(values)))
        values[at] = value
        forging.write(file, values)
        forging.sign(copy)
        if rng.integers(2):
            without_sums(part if kind == "multvae" else copy)
            if kind == "multvae":
                without_sums(copy, "metadata.json")
        found, _ = forked(partial(CONSUMERS[consumer], copy))
    what = f"{value} at {at}"
    if found.hung or found.signal:
        return f"crash or hang, signal {found.signal} ({what})", False
    if found.error is None:
        return "allowed, and ended well", True
    named = file.name in found.error[1] or part.name in found.error[1]
    if found.error[0] in REFUSALS and found.is_one_line and named:
        return "refused", True
    return f"{found.error} ({what})", False


def without_sums(folder: Path, name: str = "manifest.json") -> None:
    """Makes a folder as earlier versions wrote it."""
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    kept = {k: v for k, v in content.items() if k not in ("files", "sha256")}
    (folder / name).write_text(json.dumps(kept), encoding="utf-8")


def everything(place: Path) -> None:
    from keras_multvae.data import load_prepared

    folders.consume(load_prepared(place).split)


def train(place: Path) -> None:
    from keras_multvae.data import load_prepared
    from keras_multvae.training.trainer import train

    train(load_prepared(place).split, folders.recipe_of(1), place / "state")


def in_memory(place: Path) -> None:
    from keras_multvae import EASE
    from keras_multvae.data import load_prepared

    clicks = load_prepared(place, mmap=False).split.train
    EASE(clicks.num_items).fit(clicks)
    clicks.matrix.T.tocsr().toarray()


def recommend(place: Path) -> Any:
    from keras_multvae import Recommender

    found = Recommender.load(place)
    found.recommend(user_ids="all", k=5)
    return found.recommend_to_parquet(place / "out.parquet", k=5)


CONSUMERS = {
    "baselines, SciPy and batches": everything,
    "train": train,
    "SciPy in memory": in_memory,
    "recommend --all": recommend,
}
CONSUMERS = {name.replace(",", ""): each for name, each in CONSUMERS.items()}


if __name__ == "__main__":
    main()
