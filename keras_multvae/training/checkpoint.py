"""The state of a training: what an interruption leaves, and the best weights."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import math
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
from keras_multvae.distribution import unshard, unsharded_weights
from keras_multvae.files import (
    DamagedFileError,
    check_files,
    discard,
    existing_folder,
    open_regular,
    read_format,
    read_json,
    replace_file,
    replace_folder,
    write_manifest,
)
from keras_multvae.files.sums import MANIFEST
from keras_multvae.models.device_scope import single_device
from keras_multvae.training.recipe import CHOSEN_BY, Recipe
from keras_multvae.typing import Json, Model

FORMAT, VERSION = "keras_multvae.training", 1
# The folder that is exchanged as a whole, so that what is in it belongs together.
SAVED = "saved"
RECIPE, HISTORY, BEST, LAST = "recipe.json", "history.csv", "best.npz", "last.keras"
# What may be in a state; earlier versions had the files beside the recipe.
_KNOWN = {RECIPE, SAVED, HISTORY, BEST, LAST}


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
            self.best = unsharded_weights(self.model)
        if self.recipe.is_exhausted(self.history):
            self.model.stop_training = True
        if backend.broadcast(time.monotonic() - self.saved >= self.save_every):
            self._save()
            self.saved = time.monotonic()

    def _save(self) -> None:
        model = unshard(self.model)
        if not backend.is_main_process():
            return
        with replace_folder(self.state / SAVED) as temporary:
            write_history(temporary / HISTORY, self.history)
            with (temporary / BEST).open("wb") as file:
                np.savez(file, *self.best)
            with single_device():
                model.save(temporary / LAST)
            step = steps_done(self.model)
            values = {"format": FORMAT, "version": VERSION, "step": step}
            write_manifest(temporary / MANIFEST, values)


def steps_done(model: Model) -> int:
    """Optimiser steps so far."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def load_state(
    state: Path, steps_an_epoch: int
) -> tuple[Any, list[np.ndarray], list[dict[str, float]]]:
    """Last model, best weights and history of a state, held against each other.

    Raises:
        DamagedFileError: The files are not what was saved, or not of one training.
    """
    saved = existing_folder(state / SAVED)
    try:
        check_files(saved, read_format(saved / MANIFEST, FORMAT, VERSION))
        history = _read_history(saved / HISTORY)
        with open_regular(saved / LAST) as file, zipfile.ZipFile(file):
            model = keras.saving.load_model(saved / LAST)
        with (
            open_regular(saved / BEST) as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            best = [_known(arrays[name]) for name in arrays.files]
        _check_together(model, best, history, steps_an_epoch)
    # What a damaged file makes Keras raise is of any kind.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DamagedFileError(
            f"The interrupted training in {state} is damaged ({reason}): train anew, "
            "without resuming (overwrite=True, --overwrite)."
        ) from None
    return model, best, history


def _check_together(
    model: Model,
    best: list[np.ndarray],
    history: list[dict[str, float]],
    steps_an_epoch: int,
) -> None:
    """Raises `ValueError` unless weights, history and steps are of one moment."""
    done = steps_done(model)
    found = [(row["epoch"], row["step"]) for row in history]
    wanted = [(i + 1, (i + 1) * steps_an_epoch) for i in range(len(history))]
    if found != wanted or done != len(history) * steps_an_epoch:
        raise ValueError(
            f"{LAST} has done {done} steps, while {HISTORY} has {len(history)} epochs "
            f"of {steps_an_epoch}"
        )
    weights = unsharded_weights(model)
    if [each.shape for each in best] != [each.shape for each in weights]:
        raise ValueError(f"{BEST} holds the weights of another model")
    chosen = [row.get(CHOSEN_BY, row["epoch"]) for row in history]
    if max(chosen[:-1], default=-1.0) < chosen[-1] and any(
        one.tobytes() != other.tobytes()
        for one, other in zip(best, weights, strict=True)
    ):
        raise ValueError(f"the last epoch is the best, but {BEST} is not {LAST}")


def _known(array: np.ndarray) -> np.ndarray:
    """An array of a NumPy file, which has no name for bfloat16 and keeps its bytes."""
    return array.view("bfloat16") if array.dtype.kind == "V" else array


def clear_state(state: Path) -> None:
    """Removes the state of an older training, and nothing else."""
    _check_is_state(state)
    if state.exists():
        discard(state)


def _check_is_state(state: Path) -> None:
    """Raises `FileExistsError` where there is anything but a state, whole or not."""
    if not state.exists():
        return
    if state.is_dir():
        names = {each.name for each in state.iterdir()}
        # A kill may have left a part of it: hidden names, or all but the recipe.
        ours = {n for n in names if n in _KNOWN or n[1:].startswith(tuple(_KNOWN))}
        if names == ours and names != {HISTORY}:
            return
    raise FileExistsError(
        f"{state} is where the state of the training goes, but it exists and is "
        "none: it will not be replaced. Choose another name or remove it."
    )


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
    """Whether there is something that was saved."""
    with contextlib.suppress(FileNotFoundError):
        existing_folder(state / SAVED)
    # An earlier version's cannot be resumed, but is not to go without a word either.
    return (state / SAVED / MANIFEST).is_file() or (state / LAST).is_file()


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
    _check_is_state(state)
    with replace_folder(state) as temporary:
        head = {"format": FORMAT, "version": VERSION}
        content = head | _as_json(recipe, split, begun_with)
        write_manifest(temporary / RECIPE, content, {})


def _as_json(recipe: Recipe, split: Split, begun_with: str | None) -> Json:
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
    before, now = read_json(state / RECIPE), _as_json(recipe, split, begun_with)
    if isinstance(before, dict) and ("format" in before or "sha256" in before):
        read_format(state / RECIPE, FORMAT, VERSION)
    sections = ("settings", "training")
    if not isinstance(before, dict) or not all(
        isinstance(before.get(section, {}), dict) for section in sections
    ):
        raise DamagedFileError(
            f"{state / RECIPE} is damaged: train anew, without resuming "
            "(overwrite=True, --overwrite)."
        )
    if "settings" not in before or not (state / SAVED).is_dir():
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
