"""The state of a training: what an interruption leaves, and the best weights."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_multvae import backend
from keras_multvae.data import Interactions, Split
from keras_multvae.data.columns.mapped import slices
from keras_multvae.distribution import gathered, gathered_weights
from keras_multvae.files import DamagedFileError, read_json, replace_file, write_json
from keras_multvae.models.placement import undistributed
from keras_multvae.training.recipe import CHOSEN_BY, Recipe

# Written last, so that it says that there is a whole state.
LAST = "last.keras"


class Checkpoint(keras.callbacks.Callback):
    """Records the history, remembers the best weights and writes the state."""

    def __init__(
        self,
        state: Path,
        best: list[np.ndarray],
        history: list[dict[str, float]],
        save_every: float,
        recipe: Recipe,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.state = state
        self.history = history
        self.save_every = save_every
        self.best = best
        self.saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Adds a row to the history, and writes the state if it is time."""
        row = {"epoch": epoch + 1, "step": steps_done(self.model), **(logs or {})}
        if not math.isfinite(row["loss"]):
            raise ValueError(
                f"The loss became {row['loss']} in epoch {epoch + 1}: the training has "
                "diverged. Choose a lower learning rate."
            )
        # val_beta is the beta that training has reached anyway.
        row.pop("val_beta", None)
        best_so_far = max(
            (r[CHOSEN_BY] for r in self.history if CHOSEN_BY in r), default=-1.0
        )
        self.history.append(row)
        if row.get(CHOSEN_BY, float("inf")) > best_so_far:
            self.best = gathered_weights(self.model)
        if self.recipe.is_exhausted(self.history):
            self.model.stop_training = True
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
        with undistributed(), replace_file(self.state / LAST) as temporary:
            model.save(temporary)


def steps_done(model: Any) -> int:
    """Optimiser steps so far."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def load_state(
    state: Path,
) -> tuple[Any, list[np.ndarray], list[dict[str, float]]]:
    """Last model, best weights and history of a state."""
    try:
        history = _read_history(state / "history.csv")
        model = keras.saving.load_model(state / LAST)
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


def clear_state(state: Path) -> None:
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


def is_interrupted(state: Path) -> bool:
    """Whether there is something to go on from."""
    return (state / LAST).is_file()


def begin(
    state: Path,
    recipe: Recipe,
    split: Split,
    overwrite: bool,
    begun_with: str | None = None,
) -> None:
    """Makes an empty state, in place of one that holds nothing, or that may go.

    `begun_with` is the digest of the weights of a warm start.

    Raises:
        FileExistsError: It holds an interrupted training, or something else.
    """
    if is_interrupted(state) and not overwrite:
        raise FileExistsError(
            f"{state} holds what a training saved. Go on with resume=True, or "
            "begin anew with overwrite=True."
        )
    clear_state(state)
    write_json(state / "recipe.json", _as_json(recipe, split, begun_with))


def _as_json(recipe: Recipe, split: Split, begun_with: str | None) -> dict[str, Any]:
    found = {**recipe.to_json(), "data": fingerprint(split)}
    return found if begun_with is None else {**found, "warm_start": begun_with}


def fingerprint(split: Split) -> str:
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


def check_same(
    state: Path, recipe: Recipe, split: Split, begun_with: str | None = None
) -> None:
    """Raises `ValueError` where a state is of another training, or of none."""
    if not is_interrupted(state):
        raise ValueError(
            f"There is no interrupted training in {state}: nothing to resume."
        )
    before = read_json(state / "recipe.json")
    now = _as_json(recipe, split, begun_with)
    if "settings" not in before:
        raise ValueError(
            f"The training in {state} was begun by an earlier version of this package, "
            "whose state cannot be resumed: train anew, without resuming."
        )
    if before.pop("data", None) != now.pop("data"):
        raise ValueError(
            f"The training in {state} began with other data: resume it with the "
            "prepared folder that it was started on."
        )
    if before.get("warm_start") != now.get("warm_start"):
        raise ValueError(
            f"The training in {state} began with another warm start, or one of the two "
            "with none: resume it with the model that it was started from."
        )
    changed = [
        f"{key} was {old.get(key)!r}, now {new.get(key)!r}"
        for old, new in _sections(before, now)
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    if changed:
        raise ValueError(
            "A training resumes with the settings that it began with. Changed: "
            f"{'; '.join(changed)}."
        )


def _sections(*recipes: dict[str, Any]) -> Iterator[tuple[dict[str, Any], ...]]:
    """The same flat part of several recipes, one part after the other."""
    yield tuple({"model": each.get("model")} for each in recipes)
    for part in ("settings", "training"):
        yield tuple(each.get(part, {}) for each in recipes)
