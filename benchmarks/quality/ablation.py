"""What each departure from the paper costs: docs/results.md has the table.

    KERAS_BACKEND=torch python -m benchmarks.quality.ablation

The departures are those that other implementations were seen to make. 5 seeds on the
demo's MovieLens; test NDCG@100 of the epoch that is best in validation, paired per
user against the paper's way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from benchmarks.quality.runs import METRIC, PAPER, Store, arguments, load, table
from keras_multvae import BetaAnneal, ConstantBeta, MultVAE, ragged, evaluate_ranking
from keras_multvae.data import FoldIn, Interactions, Split, UserBatches
from keras_multvae.layers import InteractionEncoder, Sampling

REFERENCE = "as the paper"
NETWORK = PAPER.model


class NarrowSampling(Sampling):
    """eps with standard deviation 0.01."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        mean, _ = inputs
        return mean + 0.01 * (super().call(inputs, training=training) - mean)


class RawEncoder(InteractionEncoder):
    """No division by the L2 norm; on dense rows, for brevity."""

    def _sparse(self, inputs: Any, kernel: Any, training: bool) -> Any:
        return self._dense(ragged.to_dense(inputs, self.num_items), training)

    def _dense(self, inputs: Any, training: bool) -> Any:
        return keras.ops.matmul(self._drop(inputs, training), self.kernel)


class ClimbThenFall(keras.callbacks.Callback):
    """beta climbs to about 1 in the first half, then falls to the cap."""

    def __init__(self, epochs: int, cap: float) -> None:
        super().__init__()
        self.epochs, self.cap = epochs, cap

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 == self.epochs // 2:
            self.model.set_beta_schedule(ConstantBeta(self.cap))


class DropLast(UserBatches):
    """Without the last, smaller batch of an epoch."""

    def __len__(self) -> int:
        return self.num_users // self.batch_size


class SampledScores:
    """Scores from a sampled z in place of its mean."""

    def __init__(self, model: MultVAE) -> None:
        self.model, self.num_items = model, model.num_items

    def score(self, histories: Any, batch_size: int = 500) -> np.ndarray:
        mean, variance = self.model.embed(histories)
        eps = np.random.default_rng(0).normal(size=mean.shape)
        z = (mean + eps * np.sqrt(variance)).astype("float32")
        return keras.ops.convert_to_numpy(self.model.decoder(z))


class SeenAtZero:
    """Logits with those of seen items set to 0, where they can still outrank others."""

    def __init__(self, model: MultVAE) -> None:
        self.model, self.num_items = model, model.num_items

    def score(self, histories: Any, batch_size: int = 500) -> np.ndarray:
        batches = UserBatches(histories, batch_size, shuffle=False)
        logits = np.array(self.model.predict(batches, verbose=0))
        logits[histories.nonzero()] = 0
        return logits


def fit(
    split: Split,
    seed: int,
    *,
    latent_dim: int = NETWORK.latent_dim,
    dropout: float = NETWORK.dropout,
    cap: float = PAPER.beta_cap,
    annealed: bool = True,
    monitor: str = "val_ndcg_at_100",
    change: Callable[[MultVAE], None] | None = None,
    batches: type[UserBatches] = UserBatches,
    climb: bool = False,
) -> MultVAE:
    """One training as in the paper, but for what the arguments say."""
    model = MultVAE(
        split.train.num_items, latent_dim, NETWORK.hidden_dims, dropout, seed=seed
    )
    if change is not None:
        change(model)
    model.compile()
    data = batches(split.train, PAPER.batch_size, seed=seed)
    # As in the training recipe: the cap is reached after half of the training.
    half = PAPER.epochs * len(data) / 2
    anneal = (
        BetaAnneal(1.0, half)
        if climb
        else BetaAnneal(cap, half / cap if annealed else 0)
    )
    best = keras.callbacks.EarlyStopping(
        monitor, patience=PAPER.epochs, restore_best_weights=True
    )
    validation = split.validation
    assert validation is not None
    model.fit(
        data,
        epochs=PAPER.epochs,
        validation_data=UserBatches(
            validation.input, 100, shuffle=False, targets=validation.targets
        ),
        callbacks=[
            anneal,
            best,
            *([ClimbThenFall(PAPER.epochs, cap)] if climb else []),
        ],
        verbose=0,
    )
    return model


def _narrow(model: MultVAE) -> None:
    # Not a new layer: it would leave the old one's weights in the model.
    model.sampling.__class__ = NarrowSampling


def _raw(model: MultVAE) -> None:
    model.encoder.__class__ = RawEncoder


TRAININGS: dict[str, dict[str, Any]] = {
    "eps with standard deviation 0.01": {"change": _narrow},
    "latent size halved": {"latent_dim": NETWORK.latent_dim // 2},
    "no input normalisation": {"change": _raw},
    "no dropout": {"dropout": 0.0},
    "no annealing": {"annealed": False},
    "none of these three": {"change": _raw, "dropout": 0.0, "annealed": False},
    "KL averaged over latent dimensions": {"cap": PAPER.beta_cap / NETWORK.latent_dim},
    "beta climbs to 1, then falls to the cap": {"climb": True},
    "last, smaller batch dropped": {"batches": DropLast},
    "`val_loss` picks the epoch": {"monitor": "val_loss"},
}
SCORINGS: dict[str, Callable[[MultVAE], Any]] = {
    REFERENCE: lambda model: model,
    "prediction samples z": SampledScores,
    "logits of seen items set to 0": SeenAtZero,
}


def main() -> None:
    options = arguments(__doc__).parse_args()
    store = Store(options.store)
    split = load("demo")
    values = _scorings(split, store, options.seeds)
    values |= {
        name: store.per_user(
            f"ablation: {name}",
            split,
            options.seeds,
            functools.partial(fit, split, **how),
        )
        for name, how in TRAININGS.items()
    }
    print(f"\n{values[REFERENCE].shape[1]} test users, {options.seeds} seeds\n")
    print(table(values, REFERENCE))


def _scorings(split: Split, store: Store, seeds: int) -> dict[str, np.ndarray]:
    """The paper's models, scored in other ways. Seen items stay in the ranking."""
    test = split.test
    assert test is not None
    nothing = test.input.select_entries(np.zeros(test.input.num_entries, bool))

    def run(seed: int) -> dict[str, list[float]]:
        model = fit(split, seed)
        return {
            name: _unmasked(scoring(model), test, nothing)
            if scoring is SeenAtZero
            else evaluate_ranking(scoring(model), test, [METRIC])
            .values[METRIC]
            .tolist()
            for name, scoring in SCORINGS.items()
        }

    runs = [
        store.get(f"ablation: scorings, seed {seed}", functools.partial(run, seed))
        for seed in range(seeds)
    ]
    return {name: np.array([run[name] for run in runs]) for name in SCORINGS}


def _unmasked(ranker: Any, test: FoldIn, nothing: Interactions) -> list[float]:
    """Per-user figures where nothing is masked but what the ranker masks itself."""

    class Unmasked:
        num_items = ranker.num_items

        def __init__(self) -> None:
            self.next = 0

        def score(self, histories: Any, batch_size: int = 500) -> np.ndarray:
            rows = users[self.next : self.next + histories.shape[0]]
            self.next += histories.shape[0]
            return ranker.score(test.input.matrix[rows], batch_size)

    users = np.flatnonzero(np.diff(test.targets.matrix.indptr))
    report = evaluate_ranking(Unmasked(), FoldIn(nothing, test.targets), [METRIC])
    return report.values[METRIC].tolist()


if __name__ == "__main__":
    main()
