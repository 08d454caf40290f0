"""Gowalla and Yelp2018 by the protocol of the LightGCN family: linear, Mult-VAE, both.

    KERAS_BACKEND=torch python -m benchmarks.quality.gowalla FILE ease --part test
    KERAS_BACKEND=torch python -m benchmarks.quality.gowalla FILE multvae
    python -m benchmarks.quality.gowalla FILE --prepare prepared

FILE is gowalla.npz or yelp2018.npz: arrays `train`, `test`, `tune_train` and
`tune_valid`, each (2, clicks) of users and items, of the public split. `--part tune`,
the default, trains on `tune_train` and reports on `tune_valid` as it goes; `--part
test` trains on all of `train` and reads `test` once, after the last epoch. The defaults
are what was chosen on `tune_valid` of Gowalla. `multvae` reports the network, then the
network with a linear path; on `tune` it prints the path's weight and density, which
`test` is given. Recall@20 divides by the number of targets, as those papers do.
`--prepare` writes a prepared folder for the commands: training on `tune_train`,
validation on `tune_valid`, and the test, whose input is all of `train`.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy import sparse

from keras_multvae import (
    EASE,
    BetaAnneal,
    FusedAdam,
    LinearPath,
    MultVAE,
    SampledSoftmax,
    SparseEASE,
    add_linear_path,
    evaluate_ranking,
)
from keras_multvae.data import Interactions, Split, UserBatches, save_prepared
from keras_multvae.models.heads import SAMPLERS

PARTS = {"tune": ("tune_train", "tune_valid"), "test": ("train", "test")}
METRICS = ["recall_untruncated@20", "ndcg@20"]


def read(path: Path) -> dict[str, Interactions]:
    """Name -> clicks, all over the same users and items."""
    with np.load(path) as arrays:
        clicks = {name: arrays[name] for name in (*PARTS["tune"], *PARTS["test"])}
    shape = np.max([each.max(axis=1) for each in clicks.values()], axis=0) + 1
    return {
        name: Interactions.from_matrix(
            sparse.csr_matrix((np.ones(each.shape[1], "float32"), each), shape=shape)
        )
        for name, each in clicks.items()
    }


def load(path: Path, part: str) -> Split:
    clicks = read(path)
    train, held_out = PARTS[part]
    return Split.from_holdout(clicks[train], clicks[held_out])


def prepare(path: Path, folder: Path) -> None:
    clicks = read(path)
    split = Split.from_holdout(
        clicks["tune_train"], clicks["test"], clicks["tune_valid"]
    )
    save_prepared(split, folder)


def report(model: Any, split: Split, start: float, what: str) -> None:
    found = evaluate_ranking(model, split.test, METRICS)
    figures = ", ".join(
        f"{name} {found.mean(name):.4f} ± {found.stderr(name):.4f}" for name in METRICS
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.monotonic() - start
    print(f"{what}: {figures}, {seconds:.0f} s, peak {memory:.1f} GiB", flush=True)


class ReportEvery(keras.callbacks.Callback):
    """Prints validation figures every few epochs."""

    def __init__(self, epochs: int, split: Split, start: float) -> None:
        super().__init__()
        self.epochs, self.split, self.start = epochs, split, start

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if (epoch + 1) % self.epochs == 0:
            report(self.model, self.split, self.start, f"epoch {epoch + 1}")


def train_multvae(split: Split, options: argparse.Namespace, start: float) -> MultVAE:
    keras.config.set_dtype_policy(options.dtype)
    sampled = options.num_sampled > 0
    head = SampledSoftmax(options.num_sampled, options.sampler) if sampled else None
    model = MultVAE(
        split.train.num_items,
        options.latent_dim,
        (),
        options.dropout,
        head=head,
        seed=options.seed,
    )
    clicks = np.diff(split.train.matrix.indptr)
    weights = np.maximum(clicks, 1.0) ** -options.user_exponent
    batches = UserBatches(
        split.train,
        options.batch_size,
        seed=options.seed,
        sample_weight=weights / weights.mean(),
    )
    decay = keras.optimizers.schedules.CosineDecay(
        options.learning_rate, options.epochs * len(batches)
    )
    # On rows, where not all items are scored.
    adam = FusedAdam if sampled else keras.optimizers.Adam
    model.compile(adam(decay, epsilon=1e-8))
    callbacks = [BetaAnneal(options.beta_cap, 1000)]
    if options.part == "tune":
        callbacks.append(ReportEvery(options.every, split, start))
    model.fit(
        batches,
        epochs=options.epochs,
        callbacks=callbacks,
        verbose=2,
    )
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="gowalla.npz")
    parser.add_argument(
        "model", nargs="?", choices=["ease", "sparse-ease", "multvae"], default="ease"
    )
    parser.add_argument("--part", choices=PARTS, default="tune")
    parser.add_argument("--prepare", type=Path, help="write a folder; run nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--l2", type=float, default=80.0, help="of the linear model")
    parser.add_argument("--linear-dropout", type=float, default=0.0)
    parser.add_argument("--linear-user-weight", type=float, default=0.0)
    parser.add_argument("--neighbours", type=int, default=200)
    parser.add_argument("--path-weight", type=float, help="None to choose it")
    parser.add_argument("--path-density", type=float, help="None to choose it")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--latent-dim", type=int, default=512)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--beta-cap", type=float, default=0.2)
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument(
        "--user-exponent",
        type=float,
        default=0.5,
        help="a user of n clicks weighs n to minus this",
    )
    parser.add_argument(
        "--num-sampled",
        type=int,
        default=0,
        help="candidates of a sampled softmax; 0 for the full one",
    )
    parser.add_argument("--sampler", choices=SAMPLERS, default="log_uniform")
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--every", type=int, default=6, help="epochs between reports")
    options = parser.parse_args()
    if options.prepare is not None:
        prepare(options.data, options.prepare)
        return
    split = load(options.data, options.part)
    print(split.train, split.test, flush=True)
    start = time.monotonic()
    linear = (options.l2, options.linear_dropout, options.linear_user_weight)
    if options.model == "multvae":
        model: Any = train_multvae(split, options, start)
        report(model, split, start, "multvae")
        path = LinearPath(
            *linear, options.neighbours, options.path_density, options.path_weight
        )
        choice = Split(split.train, validation=split.test)
        model = add_linear_path(model, split if options.path_weight else choice, path)
        weight = float(keras.ops.convert_to_numpy(model.linear_path.weight))
        density = model.linear_path.entries / model.num_items**2
        print(f"path of weight {weight:.2f}, density {density:.5f}", flush=True)
        report(model, split, start, "multvae with a linear path")
        return
    items = split.train.num_items
    if options.model == "ease":
        model = EASE(items, *linear).fit(split.train)
    else:
        model = SparseEASE(items, *linear, options.neighbours).fit(split.train)
    print(f"fitted in {time.monotonic() - start:.0f} s", flush=True)
    report(model, split, start, options.model)


if __name__ == "__main__":
    main()
