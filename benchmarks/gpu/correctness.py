"""Whether the device computes what the CPU does: stored scores, training, ranking."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.gpu.common import arguments, device, say, set_precision
from keras_multvae import (
    EASE,
    BetaAnneal,
    MultVAE,
    Recommender,
    RecVAE,
    add_linear_path,
    evaluate_ranking,
)
from keras_multvae.data import Interactions, UserBatches, strong_generalization
from keras_multvae.ranking import rank, top_k
from keras_multvae.training import LinearPath

FORMATS = Path(__file__).parents[2] / "tests" / "formats"
STEPS, BATCH, ITEMS = 20, 100, 500
ON_CPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


def clicks(users: int = STEPS * BATCH) -> sparse.csr_matrix:
    rng = np.random.default_rng(0)
    share = 1 / (np.arange(ITEMS) + 10)
    chosen = rng.random((users, ITEMS)) < 15 * share / share.sum()
    return sparse.csr_matrix(chosen.astype("float32"))


def trained() -> list[np.ndarray]:
    """The weights after some steps without noise, from given ones."""
    model = MultVAE(ITEMS, latent_dim=16, seed=0, dropout=0.0)
    # Each device has random numbers of its own.
    model.sampling.call = lambda inputs, training=None: inputs[0]
    model.compile()
    rng = np.random.default_rng(1)
    for weight in model.trainable_variables:
        weight.assign(rng.normal(0, 0.05, weight.shape).astype("float32"))
    model.fit(UserBatches(clicks(), BATCH), callbacks=[BetaAnneal(0.2, 40)], verbose=0)
    return [np.array(weight.numpy()) for weight in model.trainable_variables]


def mean_difference(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    """The largest, over the tables, of their numbers' mean difference."""
    pairs = zip(some, others, strict=True)
    return max(float(np.abs(a - b).mean()) for a, b in pairs)


def recorded_steps() -> None:
    """CUDA graphs against the same steps from Python, noise and all; see `Training`."""
    found = []
    for alike in (True, False):
        model = MultVAE(ITEMS, latent_dim=16, seed=0)
        model.steps_alike = alike
        model.compile()
        batches = UserBatches(clicks(), BATCH, seed=0)
        model.fit(batches, epochs=2, callbacks=[BetaAnneal(0.2, 40)], verbose=0)
        found.append([np.array(weight.numpy()) for weight in model.trainable_variables])
    moved = mean_difference(*found)
    say(check="recorded steps against others", error=moved, right=moved < 1e-5)


def stored_scores() -> None:
    """Models that earlier versions saved, against their scores of then."""
    with np.load(FORMATS / "scores.npz") as arrays:
        scores = dict(arrays)
    for folder in sorted((FORMATS / "recommenders").glob("mult*")):
        model = Recommender.load(folder).model
        found = model.score(sparse.csr_matrix(scores["histories"]))
        error = float(np.abs(found - scores[folder.name]).max())
        allowed = 2e-2 if "mixed" in folder.name else 1e-5
        say(check=f"scores, {folder.name}", error=error, right=error <= allowed)


def training_as_on_cpu() -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "weights.npz"
        command = [sys.executable, "-m", "benchmarks.gpu.correctness"]
        subprocess.run(
            command, env={**os.environ, **ON_CPU, "WEIGHTS": str(file)}, check=True
        )
        with np.load(file) as arrays:
            expected = [arrays[key] for key in arrays.files]
    found = trained()
    # Adam's first steps are of the gradient's sign, whatever its size: where it is
    # nothing but rounding, the sign is too.
    moved = mean_difference(found, expected)
    say(check=f"{STEPS} steps against the CPU", error=moved, right=moved < 1e-6)


def rankings() -> None:
    """Linear path, metrics and ranking of two models, against the same on the host."""
    split = strong_generalization(Interactions.from_matrix(clicks(900)), 200, 200)
    path = LinearPath(100.0, 0.0, 0.0, density=0.2, weight=5)
    weights = EASE(split.train.num_items, 100.0).fit(split.train).cut(0.2).toarray()
    histories = split.test.input.matrix
    for make in (MultVAE, RecVAE):
        network = make(split.train.num_items, latent_dim=16, seed=0)
        network.compile()
        network.fit(UserBatches(split.train, 50), epochs=3, verbose=0)
        model = add_linear_path(network, split, path)
        added = np.subtract(
            model.unnormalized_scores(histories)[0],
            network.unnormalized_scores(histories)[0],
        )
        compare(make, "linear path", added, 5 * (histories @ weights), 1e-4)
        logs = model.evaluate(split.test, batch_size=50, verbose=0, return_dict=True)
        report = evaluate_ranking(model, split.test)
        found = [logs[name] for name in ("ndcg_at_100", "recall_at_20")]
        wanted = [report.mean(name) for name in ("ndcg@100", "recall@20")]
        compare(make, "evaluate against evaluate_ranking", found, wanted, 1e-6)
        ((_, top),) = rank(model, histories, 50, batch_size=500)
        sorted_ones = top_k(model.score(histories), 50, histories).indices
        compare(make, "ranking as by sorting scores", top.indices, sorted_ones, 0)


def compare(make: type, check: str, found: Any, wanted: Any, allowed: float) -> None:
    error = float(np.abs(np.subtract(found, wanted)).max())
    say(check=f"{make.__name__}, {check}", error=error, right=error <= allowed)


def main() -> None:
    arguments(__doc__)
    set_precision("float32")
    if "WEIGHTS" in os.environ:
        np.savez(os.environ["WEIGHTS"], *trained())
        return
    say(device=device())
    stored_scores()
    training_as_on_cpu()
    recorded_steps()
    rankings()


if __name__ == "__main__":
    main()
