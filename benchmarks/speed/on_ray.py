"""Batch recommendation on Ray beside one process, on this machine.

    KERAS_BACKEND=jax python -m benchmarks.speed.on_ray

The 100 best of 20,108 items for 20,000 users, by an untrained I-600-200-600-I: users a
second of a first call, in which workers start and load the model, and of a second one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import ray
from scipy import sparse

from benchmarks.speed.options import Options
from benchmarks.speed.tables import markdown
from keras_multvae import MultVAE, Recommender, recommend_on_ray
from keras_multvae.data import Interactions

K, SHARD, PROCESSORS = 100, 2_000, 2


def measure(cache: Path, folder: Path) -> list[list[Any]]:
    """A row for one process, and for one and two workers."""
    clicks = Interactions.from_matrix(sparse.load_npz(Options(cache=cache).clicks()))
    model = MultVAE(clicks.num_items, seed=0)
    recommender = Recommender(model, clicks.items, histories=clicks)
    recommender.save(folder / "model")

    def rates(run: Callable[[Path], Any], name: str) -> list[Any]:
        found = []
        for call in ("first", "second"):
            start = time.perf_counter()
            run(folder / f"{name}, {call}")
            found.append(clicks.num_users / (time.perf_counter() - start))
        return [name, *(f"{rate:,.0f}" for rate in found)]

    def alone(out: Path) -> None:
        recommender.recommend_to_parquet(out, k=K)

    def shared(out: Path, workers: int) -> None:
        recommend_on_ray(
            folder / "model", out, num_workers=workers, shard_size=SHARD, k=K
        )

    rows = [rates(alone, "one process")]
    expected = polars.read_parquet(folder / "one process, second")
    for workers in range(1, PROCESSORS + 1):
        name = f"Ray, workers: {workers}"
        ray.init(num_cpus=PROCESSORS, log_to_driver=False)
        rows.append(rates(lambda out, n=workers: shared(out, n), name))
        ray.shutdown()
        found = polars.read_parquet(folder / f"{name}, second" / "parts")
        if not found.equals(expected):
            raise RuntimeError(f"{name}: not the rows of one process.")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cache", type=Path, default=Options().cache, help="folder for the work"
    )
    cache = parser.parse_args().cache
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        print(markdown(["", "first call", "second call"], measure(cache, Path(folder))))


if __name__ == "__main__":
    main()
