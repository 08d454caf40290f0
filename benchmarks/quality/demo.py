"""The demo's settings: three backends, plain PyTorch, popularity.

    python -m benchmarks.quality.demo
    python -m benchmarks.quality.demo --data latest-small --ratings ratings.csv
    python -m benchmarks.quality.demo --systems torch "torch bfloat16"

Trains 5 seeds on each backend, each in a process of its own, and prints NDCG@100 of the
test users, the gain over popularity and the paired differences. About 20 minutes each.
`--seeds N` and `--systems NAME ...` choose others; the data are the demo's or MovieLens
latest-small, downloaded unless `--ratings` names the file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")
MIXED = " bfloat16"
# A backend's name with MIXED behind it trains with products in bfloat16.
SYSTEMS = (*BACKENDS, "plain PyTorch", *(backend + MIXED for backend in BACKENDS))
METRIC = "ndcg@100"
RUN = """
import json, pathlib, sys
from benchmarks.quality.demo import run
system, seeds, out, data, ratings = json.loads(sys.argv[1])
run(system, seeds, pathlib.Path(out), data, ratings)
"""


def run(system: str, seeds: int, out: Path, data: str, ratings: str | None) -> None:
    """Trains and tests all seeds of a system in this process."""
    import keras

    from benchmarks.quality.runs import load
    from keras_multvae import Popularity, evaluate_ranking, train
    from keras_multvae.cli.demo import RECIPE

    if system.endswith(MIXED):
        keras.config.set_dtype_policy("mixed_bfloat16")
    split = load(data, ratings)
    popularity = Popularity(split.train.num_items).fit(split.train)
    found = {
        "popularity": evaluate_ranking(popularity, split.test).values[METRIC].tolist(),
        "seeds": [],
    }
    for seed in range(seeds):
        recipe = replace(RECIPE, seed=seed, linear_path=None)
        if system == "plain PyTorch":
            model = _train_plain(split, recipe)
        else:
            model, _ = train(split, recipe, out.with_suffix(".state"), save_every=1e9)
        report = evaluate_ranking(model, split.test)
        found["seeds"].append(report.values[METRIC].tolist())
        print(f"{system}, seed {seed}: {report.mean(METRIC):.4f}", flush=True)
    out.write_text(json.dumps(found))


def _train_plain(split, recipe):
    import torch

    from benchmarks.plain_torch import PlainMultVAE, Trainer
    from benchmarks.quality.runs import fit_plain

    torch.manual_seed(recipe.seed)
    clicks = split.train.matrix
    network = recipe.model
    (hidden,) = network.hidden_dims
    model = PlainMultVAE(clicks.shape[1], hidden, network.latent_dim, network.dropout)
    steps = -(-clicks.shape[0] // recipe.batch_size)
    trainer = Trainer(
        model,
        clicks,
        recipe.batch_size,
        recipe.learning_rate,
        recipe.beta_cap,
        recipe.resolved_anneal_steps(steps),
        recipe.seed,
    )
    return fit_plain(model, trainer.epoch, recipe.epochs, split)


def main() -> None:
    import numpy as np

    from keras_multvae.evaluation import paired_test

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS[:4])
    parser.add_argument("--data", choices=["demo", "latest-small"], default="demo")
    parser.add_argument("--ratings", help="ratings.csv of MovieLens latest-small")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for system in arguments.systems:
            out = Path(folder) / f"{system}.json"
            backend = system.removesuffix(MIXED)
            backend = "torch" if system == "plain PyTorch" else backend
            task = (
                system,
                arguments.seeds,
                str(out),
                arguments.data,
                arguments.ratings,
            )
            subprocess.run(
                [sys.executable, "-c", RUN, json.dumps(task)],
                env={**os.environ, "KERAS_BACKEND": backend},
                check=True,
            )
            results[system] = json.loads(out.read_text())
    popularity = np.array(results[arguments.systems[0]]["popularity"])
    print(f"\n{len(popularity)} test users, popularity {popularity.mean():.4f}\n")
    heading = f"NDCG@100, mean of {arguments.seeds} seeds"
    print(f"| system | {heading} | least, most | above popularity |")
    print("| --- | --- | --- | --- |")
    per_user = {}
    for system, found in results.items():
        values = np.array(found["seeds"])
        seeds, per_user[system] = values.mean(axis=1), values.mean(axis=0)
        gain = seeds.mean() / popularity.mean() - 1
        print(
            f"| {system} | {seeds.mean():.4f} | {seeds.min():.4f}, {seeds.max():.4f} "
            f"| {gain:+.0%} |"
        )
    print("\n| paired difference per user | mean | standard error | p |")
    print("| --- | --- | --- | --- |")
    for a, b in itertools.combinations(arguments.systems, 2):
        found = paired_test(per_user[a], per_user[b])
        print(f"| {a} - {b} | {found.mean:+.4f} | {found.stderr:.4f} | {found.p:.3f} |")


if __name__ == "__main__":
    main()
