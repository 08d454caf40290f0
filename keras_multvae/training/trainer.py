"""Training by a recipe: anneal, keep the best epoch, go on after an interruption."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from keras_multvae import backend
from keras_multvae.abilities import HasBeta, can
from keras_multvae.callbacks import BetaAnneal, ImplicitSLIM
from keras_multvae.data import Split, UserBatches
from keras_multvae.data.columns.clicks import weights_of_users
from keras_multvae.distribution import shard
from keras_multvae.files import lock, new_parents
from keras_multvae.models.device_scope import single_device
from keras_multvae.training.checkpoint import (
    Checkpoint,
    begin,
    check_same,
    clear_state,
    fingerprint,
    is_interrupted,
    load_state,
    steps_within,
)
from keras_multvae.training.fits import check_memory
from keras_multvae.training.linear_path import add_linear_path, check_choice
from keras_multvae.training.recipe import Recipe
from keras_multvae.training.record import TrainingRecord, versions
from keras_multvae.training.warm_start import (
    WarmStart,
    check_warm_start,
    take_over,
    weights_digest,
)
from keras_multvae.typing import Model

# Scores of a validation batch at most, of which metrics make several arrays.
VALIDATION_SCORES = 1 << 26


def train(
    split: Split,
    recipe: Recipe,
    state: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    save_every: float = 30.0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    warm_start: WarmStart | None = None,
) -> tuple[Model, list[dict[str, float]]]:
    """Trains a model and returns it as it was in its best epoch.

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
        overwrite: Bool, whether such a state may go, to begin anew.
        save_every: Seconds of training that an interruption may cost: the state is
            written at the end of an epoch, and within it every 16 steps, if so many
            have passed.
        callbacks: Further Keras callbacks, e.g. to show progress.
        warm_start: A `Recommender` whose weights to begin with, on data that have
            grown: items that both know keep theirs, a new item starts as the mean of
            the old ones, what is gone is left out. Beta goes on at that model's count
            of steps; the optimiser begins anew.

    Returns:
        The model, whole and on one device, compiled with an optimiser that is new, and
        one dict an epoch with `epoch`, `step` and the logs. Where a training was
        resumed within an epoch, the logs of that one, but for the validation's, are of
        the steps after `from_step`.

    Raises:
        ValueError: Nothing to resume, the recipe, the data or the warm start are not
            those of the state, no validation user has a target, a warm start of another
            class, of another size or without any of the items, or the loss is no longer
            finite. Where nothing was saved yet, nothing is left of `state`.
        TypeError: `warm_start` is no Recommender.
        FileExistsError: `state` holds an interrupted training, or other files.
        FolderInUseError: Another process trains with the same `state`.
        DamagedFileError: The state is damaged.

    Example:

    >>> import tempfile, pathlib
    >>> from keras_multvae import MultVAE, Recipe, Recommender, train
    >>> from keras_multvae.data import Interactions, strong_generalization
    >>> liked = np.random.default_rng(0).random((80, 12)) < 0.5
    >>> users, items = (axis.tolist() for axis in liked.nonzero())
    >>> split = strong_generalization(Interactions.from_events(users, items), 10, 20)
    >>> recipe = Recipe(MultVAE.Config(4, (8,)), epochs=2)
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> model, history = train(split, recipe, folder / "first")
    >>> earlier = Recommender(model, split.train.items)
    >>> model, history = train(split, recipe, folder / "next", warm_start=earlier)
    >>> len(history)
    2
    """
    with _alone(Path(state)):
        return _train(
            split,
            recipe,
            Path(state),
            resume,
            overwrite,
            save_every,
            callbacks,
            warm_start,
        )


def _train(
    split: Split,
    recipe: Recipe,
    state: Path,
    resume: bool,
    overwrite: bool,
    save_every: float,
    callbacks: Sequence[keras.callbacks.Callback],
    warm_start: WarmStart | None,
) -> tuple[Model, list[dict[str, float]]]:
    """`train`, while no other process writes the state."""
    recipe = recipe.resolved(split.train.num_users)
    if recipe.linear_path is not None:
        check_choice(split, recipe.linear_path)
    begun_with = None
    if warm_start is not None:
        places = check_warm_start(warm_start, recipe, split.train.items)
        begun_with = weights_digest(warm_start.model)
    batches, epochs = _batches(split, recipe)
    validation = _validation(split, batches)
    steps = epochs * len(batches)
    best: list[np.ndarray] = []
    history: list[dict[str, float]] = []
    if resume:
        if backend.is_main_process():
            check_same(state, recipe, split, begun_with)
        with single_device():
            model, best, history = load_state(state, len(batches))
    else:
        _warn_of_few_steps(recipe, batches)
        with single_device():
            model = recipe.build(split.train.num_items, steps)
            check_memory(model, recipe)
            if warm_start is not None:
                take_over(warm_start, model, places)
    config = model.get_config()
    model = shard(model)
    checkpoint = Checkpoint(state, best, history, save_every, recipe, len(batches))
    checkpoint.done = steps_within(model, history, len(batches))
    always = [_Whole(epochs, len(batches)), *_annealing(model, recipe, batches)]
    always += [checkpoint, *callbacks]
    with _new_state(state, recipe, split, resume, overwrite, begun_with):
        if checkpoint.done:
            # What happens when an epoch begins has happened.
            _fit(model, batches, len(history) + 1, checkpoint, always, validation)
        changes = [*_slim_updates(split, recipe), *always]
        _fit(model, batches, epochs, checkpoint, changes, validation)
    # Without the optimiser's state, which is that of the last epoch and not the best.
    with single_device():
        kept = type(model).from_config(config)
        kept.set_weights(checkpoint.best)
        recipe.compile(kept, steps)
        if recipe.linear_path is not None:
            kept = add_linear_path(kept, split, recipe.linear_path)
    return kept, history


def _fit(
    model: Model,
    batches: UserBatches,
    epochs: int,
    checkpoint: Checkpoint,
    callbacks: list[keras.callbacks.Callback],
    validation: UserBatches | None,
) -> None:
    """Trains up to an epoch, from where the history ends."""
    # A training that had ended before its result was written does no more.
    if checkpoint.recipe.is_exhausted(checkpoint.history):
        return
    batches.epoch, batches.done = len(checkpoint.history), checkpoint.done
    model.fit(
        batches,
        epochs=epochs,
        initial_epoch=batches.epoch,
        callbacks=callbacks,
        validation_data=validation,
        verbose=0,
    )


class _Whole(keras.callbacks.Callback):
    """Tells all callbacks of the whole training, where `fit` does the rest of it.

    Args:
        epochs: Int, of the training.
        steps: Int, of a whole epoch.
    """

    def __init__(self, epochs: int, steps: int) -> None:
        super().__init__()
        self._told = {"epochs": epochs, "steps": steps}

    def set_params(self, params: dict[str, object]) -> None:
        """See `keras.callbacks.Callback`; all callbacks are given this one dict."""
        params.update(self._told)
        super().set_params(params)


def _annealing(model: Model, recipe: Recipe, batches: UserBatches) -> list[BetaAnneal]:
    """The callbacks that anneal beta, for models that have one."""
    if not can(model, HasBeta):
        return []
    return [BetaAnneal(recipe.beta_cap, recipe.resolved_anneal_steps(len(batches)))]


def _slim_updates(split: Split, recipe: Recipe) -> list[ImplicitSLIM]:
    """The callbacks that update item embeddings, if the recipe has such."""
    updates = recipe.implicit_slim
    if updates is None:
        return []
    min_clicks = updates.clicks_for(split.train.num_users)
    return [
        ImplicitSLIM(split.train, updates.every, updates.l2, updates.alpha, min_clicks)
    ]


def _batches(split: Split, recipe: Recipe) -> tuple[UserBatches, int]:
    """The training batches, and how many epochs go over them."""
    batch_size, epochs = recipe.sizes(split.train.num_users)
    batches = UserBatches(
        split.train,
        batch_size,
        seed=recipe.seed,
        sample_weight=_user_weights(split, recipe),
        partitions=recipe.partitions,
    )
    return batches, epochs


def _user_weights(split: Split, recipe: Recipe) -> np.ndarray | None:
    """n_u^-a of each user, with a mean of 1; see `Recipe`."""
    if recipe.user_weight == 0:
        return None
    clicks = np.maximum(np.diff(split.train.matrix.indptr), 1)
    return weights_of_users(clicks, recipe.user_weight)


def _warn_of_few_steps(recipe: Recipe, batches: UserBatches) -> None:
    """Warns if one batch holds all users, so that an epoch is one step."""
    users = batches.num_users
    if len(batches) == 1:
        warnings.warn(
            f"Batches of {recipe.batch_size} users are as large as the data or larger, "
            f"{users} users: an epoch is one step, and the model may hardly learn. "
            "Leave `batch_size` out, and it will fit.",
            stacklevel=3,
        )


@contextmanager
def _new_state(
    state: Path,
    recipe: Recipe,
    split: Split,
    resume: bool,
    overwrite: bool,
    begun_with: str | None,
) -> Iterator[None]:
    """A context with a folder for the state, which goes if nothing was saved in it."""
    if resume or not backend.is_main_process():
        yield
        return
    begin(state, recipe, split, overwrite, begun_with)
    try:
        yield
    except BaseException:
        if not is_interrupted(state):
            clear_state(state)
        raise


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """A context in which no other training writes the same state."""
    if not backend.is_main_process():
        yield
        return
    with new_parents(state), lock(state):
        yield


def _validation(split: Split, batches: UserBatches) -> UserBatches | None:
    """Batches of the validation users, if there are any."""
    if split.validation is None:
        return None
    users = max(VALIDATION_SCORES // split.train.num_items, 1)
    return UserBatches(
        split.validation.input,
        -(-min(batches.batch_size, users) // batches.partitions) * batches.partitions,
        shuffle=False,
        targets=split.validation.targets,
        partitions=batches.partitions,
    )


def record(
    split: Split, recipe: Recipe, warm_start: WarmStart | None = None
) -> TrainingRecord:
    """What `train` trains on, to be kept with the model."""
    return TrainingRecord(
        recipe.resolved(split.train.num_users),
        fingerprint(split),
        versions(keras.backend.backend()),
        None if warm_start is None else weights_digest(warm_start.model),
    )
