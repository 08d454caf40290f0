"""The training recipe: anneal, keep the best epoch, go on after an interruption."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import shutil
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_multvae import backend
from keras_multvae.callbacks import BetaAnneal
from keras_multvae.data import Interactions, Split, UserBatches
from keras_multvae.data.columns.mapped import slices
from keras_multvae.distribution import gathered, gathered_weights, spread
from keras_multvae.files import DamagedFileError, read_json, replace_file, write_json
from keras_multvae.models import MultDAE, MultVAE
from keras_multvae.models.placement import undistributed
from keras_multvae.optimizers import FusedAdam

BEST = "val_ndcg_at_100"
# Scores of a validation batch at most, of which metrics make several arrays.
VALIDATION_SCORES = 1 << 26
MODELS = (MultVAE.__name__, MultDAE.__name__)


@dataclass(frozen=True)
class Recipe:
    """How to train a model; the defaults are the paper's, but for the annealing.

    Args:
        epochs: Passes over the training users.
        batch_size: Users a step.
        learning_rate: Of Adam.
        latent_dim: K.
        hidden_dims: Hidden layers of the encoder; the decoder mirrors them.
        dropout: Share of clicks dropped from the input.
        beta_cap: Where the KL weight stops rising.
        anneal_steps: Optimiser steps in which it would reach 1. None lets it reach
            its cap after half of the training, however long that is: the paper's
            200,000 would leave it near 0 on small data.
        likelihood: "multinomial", "gaussian" or "logistic".
        model: "MultVAE" or "MultDAE"; the latter has no use for the two of beta. The
            paper's has no hidden layer beside the code: `hidden_dims=()`.
        l2: Of the kernels of a `MultDAE`.
        output: "full", or "sampled" for large catalogues; see `MultVAE`, also for the
            next four.
        num_sampled: Items drawn for each batch.
        sampler: "log_uniform", "popularity" or "in_batch".
        tied: Whether encoder and decoder share one item table.
        table_dtype: None, or "bfloat16" for the item tables.
        blocks: Equal parts of a batch, see `UserBatches`; by default one a replica of
            the distribution. Give it where a training must be the same on other
            numbers of replicas.
        seed: Of weights, noise and the order of users.
    """

    epochs: int = 100
    batch_size: int = 500
    learning_rate: float = 1e-3
    latent_dim: int = 200
    hidden_dims: tuple[int, ...] = (600,)
    dropout: float = 0.5
    beta_cap: float = 0.2
    anneal_steps: float | None = None
    likelihood: str = "multinomial"
    model: str = "MultVAE"
    l2: float = 0.01 / 500
    output: str = "full"
    num_sampled: int = 2000
    sampler: str = "log_uniform"
    tied: bool = False
    table_dtype: str | None = None
    blocks: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(
                "`learning_rate` must be a finite number > 0. Received: "
                f"{self.learning_rate}."
            )
        if self.model not in MODELS:
            raise ValueError(
                f"`model` must be {' or '.join(MODELS)}. Received: "
                f"model={self.model!r}."
            )

    def resolved_anneal_steps(self, steps_per_epoch: int) -> float:
        """`anneal_steps`, or its default for a number of steps an epoch."""
        if self.anneal_steps is not None:
            return self.anneal_steps
        half = self.epochs * steps_per_epoch / 2
        return half / self.beta_cap if self.beta_cap else 0

    def build(self, num_items: int) -> MultVAE | MultDAE:
        """The untrained model of these settings, compiled."""
        options: dict[str, Any] = {
            "latent_dim": self.latent_dim,
            "hidden_dims": self.hidden_dims,
            "dropout": self.dropout,
            "likelihood": self.likelihood,
            "seed": self.seed,
        }
        model: MultVAE | MultDAE
        if self.model == "MultDAE":
            model = MultDAE(num_items, l2=self.l2, **options)
        else:
            model = MultVAE(
                num_items,
                output=self.output,
                num_sampled=self.num_sampled,
                sampler=self.sampler,
                tied=self.tied,
                table_dtype=self.table_dtype,
                **options,
            )
        model.compile(FusedAdam(self.learning_rate, epsilon=1e-8))
        return model


def train(
    split: Split,
    recipe: Recipe,
    state: str | os.PathLike[str],
    *,
    resume: bool = False,
    save_every: float = 30.0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[MultVAE | MultDAE, list[dict[str, float]]]:
    """Trains a model and gives it as it was in its best epoch.

    The best epoch has the highest validation NDCG@100; without a validation part it is
    the last one. Every so often the state goes to a folder, so that an interrupted
    training can go on: with the same weights, optimiser, noise, beta and order of
    users as if it had never stopped.

    Under a `keras.distribution` (see `keras_multvae.distribution`) all processes call
    this alike. The first one writes the state, which holds the whole model, so that any
    number of processes can go on from it; all read it, so the folder must be on a file
    system that they share.

    Args:
        split: Training and, if there is one, validation part.
        recipe: The settings.
        state: Folder for the state; the caller removes it when the result is safe
            (one process alone).
        resume: Bool, whether to go on from the state of an earlier call.
        save_every: Seconds of training that an interruption may cost; the state is
            written at the end of an epoch.
        callbacks: Further Keras callbacks, e.g. to show progress.

    Returns:
        The model, whole and on one device, and one dict an epoch with `epoch`, `step`
        and the logs.

    Raises:
        ValueError: Nothing to resume, the recipe or the data are not those of the
            state, or the loss is no longer finite.
        FileExistsError: `state` holds files that are not a training's.
        DamagedFileError: The state is damaged.
    """
    state = Path(state)
    batches = UserBatches(
        split.train, recipe.batch_size, seed=recipe.seed, blocks=recipe.blocks
    )
    validation = None
    if split.validation is not None:
        part = split.validation
        users = max(VALIDATION_SCORES // split.train.num_items, 1)
        validation = UserBatches(
            part.input,
            -(-min(recipe.batch_size, users) // batches.blocks) * batches.blocks,
            shuffle=False,
            targets=part.targets,
            blocks=batches.blocks,
        )
    best: list[np.ndarray] = []
    history: list[dict[str, float]] = []
    if resume:
        if backend.is_first():
            _check_same(state, recipe, split)
        with undistributed():
            model, best, history = _load(state)
        # The weights are written after the history: a kill between leaves one row over.
        del history[steps_done(model) // len(batches) :]
    else:
        if backend.is_first():
            _clear(state)
            write_json(state / "recipe.json", _as_json(recipe, split))
        with undistributed():
            model = recipe.build(split.train.num_items)
    config = model.get_config()
    model = spread(model)
    batches.epoch = len(history)
    keep = _Keep(state, best, history, save_every)
    anneal = BetaAnneal(recipe.beta_cap, recipe.resolved_anneal_steps(len(batches)))
    model.fit(
        batches,
        epochs=recipe.epochs,
        initial_epoch=len(history),
        validation_data=validation,
        verbose=0,
        callbacks=[*([anneal] if recipe.model == "MultVAE" else []), keep, *callbacks],
    )
    # Without the optimiser's state, which is that of the last epoch and not the best.
    with undistributed():
        kept = type(model).from_config(config)
        kept.set_weights(keep.best)
    return kept, history


class _Keep(keras.callbacks.Callback):
    """Records the history, remembers the best weights and writes the state."""

    def __init__(
        self,
        state: Path,
        best: list[np.ndarray],
        history: list[dict[str, float]],
        save_every: float,
    ) -> None:
        super().__init__()
        self.state = state
        self.history = history
        self.save_every = save_every
        self.best = best
        self.saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        row = {"epoch": epoch + 1, "step": steps_done(self.model), **(logs or {})}
        if not math.isfinite(row["loss"]):
            raise ValueError(
                f"The loss became {row['loss']} in epoch {epoch + 1}: the training has "
                "diverged. Choose a lower learning rate."
            )
        # val_beta is the beta that training has reached anyway.
        row.pop("val_beta", None)
        best_so_far = max((r[BEST] for r in self.history if BEST in r), default=-1.0)
        self.history.append(row)
        if row.get(BEST, float("inf")) > best_so_far:
            self.best = gathered_weights(self.model)
        if backend.agreed(time.monotonic() - self.saved >= self.save_every):
            self._save()
            self.saved = time.monotonic()

    def _save(self) -> None:
        model = gathered(self.model)
        if not backend.is_first():
            return
        # The model comes last: its count of steps says which epochs are safe.
        write_history(self.state / "history.csv", self.history)
        with (
            replace_file(self.state / "best.npz") as temporary,
            temporary.open("wb") as file,
        ):
            np.savez(file, *self.best)
        with undistributed(), replace_file(self.state / "last.keras") as temporary:
            model.save(temporary)


def steps_done(model: Any) -> int:
    """Optimiser steps so far."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def _load(
    state: Path,
) -> tuple[MultVAE | MultDAE, list[np.ndarray], list[dict[str, float]]]:
    """Last model, best weights and history of a state."""
    try:
        history = _read_history(state / "history.csv")
        model = keras.saving.load_model(state / "last.keras")
        with np.load(state / "best.npz", allow_pickle=False) as arrays:
            best = [_known(arrays[name]) for name in arrays.files]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DamagedFileError(
            f"The interrupted training in {state} is damaged ({error}): train anew, "
            "without resuming."
        ) from None
    return model, best, history


def _known(array: np.ndarray) -> np.ndarray:
    """An array of a NumPy file, which has no name for bfloat16 and keeps its bytes."""
    return array.view("bfloat16") if array.dtype.kind == "V" else array


def _clear(state: Path) -> None:
    """Removes the state of an older training, and nothing else."""
    if not state.exists():
        return
    if not state.is_dir() or (
        any(state.iterdir()) and not (state / "recipe.json").is_file()
    ):
        raise FileExistsError(
            f"{state} is where the state of the training goes, but it exists and is "
            "none: it will not be replaced. Choose another name or remove it."
        )
    shutil.rmtree(state)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Writes one row an epoch as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with replace_file(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _read_history(path: Path) -> list[dict[str, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {
                key: int(value) if key in ("epoch", "step") else float(value)
                for key, value in row.items()
            }
            for row in csv.DictReader(file)
        ]


def _as_json(recipe: Recipe, split: Split) -> dict[str, Any]:
    return {
        **asdict(recipe),
        "hidden_dims": list(recipe.hidden_dims),
        "data": _fingerprint(split),
    }


def _fingerprint(split: Split) -> str:
    """SHA-256 of what a training reads: another folder must not resume it."""
    parts: list[Interactions] = [split.train]
    if split.validation is not None:
        parts += [split.validation.input, split.validation.targets]
    sha = hashlib.sha256()
    for part in parts:
        matrix = part.matrix
        for array in (matrix.indptr, matrix.indices, matrix.data):
            for piece in slices(array):
                sha.update(np.ascontiguousarray(piece).data)
    return sha.hexdigest()


def _check_same(state: Path, recipe: Recipe, split: Split) -> None:
    if not (state / "last.keras").is_file():
        raise ValueError(
            f"There is no interrupted training in {state}: nothing to resume."
        )
    before, now = read_json(state / "recipe.json"), _as_json(recipe, split)
    if before.pop("data", None) != now.pop("data"):
        raise ValueError(
            f"The training in {state} began with other data: resume it with the "
            "prepared folder that it was started on."
        )
    changed = [
        f"{key} was {before.get(key)!r}, now {value!r}"
        for key, value in now.items()
        if before.get(key) != value
    ]
    if changed:
        raise ValueError(
            "A training resumes with the settings that it began with. Changed: "
            f"{'; '.join(changed)}."
        )
