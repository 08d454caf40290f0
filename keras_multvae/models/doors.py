"""Checks the arguments of `fit`, `evaluate` and `predict` before they take effect.

Keras would accept some bad data on one backend, fail late on another, and lose the
model's weights on JAX.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from inspect import Signature, signature
from typing import Any, TypeAlias

import keras
import numpy as np
from scipy import sparse

from keras_multvae import backend
from keras_multvae.data.batches import UserBatches
from keras_multvae.data.columns.clicks import EXPECTED, as_csr, check_dense, is_matrix
from keras_multvae.registry import entry_of
from keras_multvae.typing import Clicks, Logs, Model, Shape

# Arguments of a method of `keras.Model` by name.
Arguments: TypeAlias = dict[str, Any]
# The default number of users in a batch, as Keras' for arrays.
BATCH = 32


def arguments_of(method: str, *args: object, **kwargs: object) -> Arguments:
    """The arguments of a method of `keras.Model` by name, without the model."""
    bound = _signature(method).bind(None, *args, **kwargs)
    found = {**bound.arguments, **bound.arguments.get("kwargs", {})}
    return {name: found[name] for name in found if name not in ("self", "kwargs")}


@cache
def _signature(method: str) -> Signature:
    return signature(getattr(keras.Model, method))


def check_fit(model: Model, arguments: Arguments) -> Arguments:
    """The arguments of `fit`, with matrices converted to `UserBatches`.

    Args:
        model: A `RankingModel`.
        arguments: By name.

    Raises:
        TypeError: Data that no model can be trained on.
        ValueError: Another number of items, counts for a likelihood of 0 and 1, targets
            equal to the input, or arguments that do not apply.
    """
    if arguments.get("class_weight") is not None:
        raise ValueError(
            "`class_weight` means nothing here: items are no classes. Weigh users by "
            "`sample_weight`. Received: class_weight="
            f"{arguments['class_weight']!r}."
        )
    taken = _with_batches(model, arguments, shuffle=bool(arguments.get("shuffle", 1)))
    if isinstance(taken["x"], UserBatches):
        if taken.get("validation_split"):
            raise ValueError(
                "`validation_split` cuts off the last rows of dense arrays. Hold users "
                "out by strong_generalization(), and give validation_data=split."
                f"validation. Received: {taken['validation_split']!r}."
            )
        # Otherwise Keras shuffles the batches by Python's global random state.
        taken["shuffle"] = False
    if taken.get("validation_data") is not None:
        taken["validation_data"] = _validation(model, arguments)
    return taken


def warn_of_lost_models(model: Model) -> None:
    """Warns before training if the model could not be loaded again."""
    likelihood = type(model.likelihood)
    try:
        entry_of(type(model))
        if keras.saving.get_registered_name(likelihood) == likelihood.__name__:
            raise TypeError(
                f"{likelihood.__name__} is not registered with Keras, so a model with "
                "it could not be loaded again. Put @keras.saving."
                "register_keras_serializable() over its class."
            )
    except TypeError as error:
        warnings.warn(f"Recommender.save: {error}", stacklevel=3)


def check_rows(model: Model, arguments: Arguments, *, measured: bool) -> Arguments:
    """As `check_fit`, for methods that read users in order.

    Args:
        model: A `RankingModel`.
        arguments: By name.
        measured: Whether a loss is computed, as by `evaluate` but not `predict`.
    """
    taken = _with_batches(model, arguments, shuffle=False, measured=measured)
    if isinstance(taken["x"], UserBatches):
        taken["x"] = taken["x"].in_order()
    return taken


def _with_batches(
    model: Model, arguments: Arguments, shuffle: bool, measured: bool = True
) -> Arguments:
    """Arguments that Keras accepts; raises for errors that it would find too late."""
    taken = dict(arguments)
    x, y = taken.get("x"), taken.get("y")
    if is_matrix(x) or (is_matrix(y) and x is not None) or _must_be_ragged(model, x):
        size = taken.pop("batch_size", None)
        taken["x"] = UserBatches(
            x,
            BATCH if size is None else size,
            shuffle=shuffle,
            targets=taken.pop("y", None),
            sample_weight=taken.pop("sample_weight", None),
        )
    elif isinstance(x, list | tuple | str | bytes | int | float):
        raise TypeError(
            f"A model takes UserBatches, {EXPECTED}, or a data set of Keras' kinds. "
            f"Received: {type(x).__name__}."
        )
    else:
        _check_arrays(model, x, y, measured)
    found = taken.get("x")
    model.check_batches(found)
    if measured and isinstance(found, UserBatches) and not found.binary:
        _refuse_counts(model)
    return taken


def _validation(model: Model, arguments: Arguments) -> object:
    """`validation_data` in a form that Keras takes."""
    given = arguments["validation_data"]
    parts = given if isinstance(given, tuple) else (given,)
    size = arguments.get("validation_batch_size") or arguments.get("batch_size")
    names = ("x", "y", "sample_weight")
    rows = dict(zip(names, parts, strict=False))
    taken = _with_batches(model, {**rows, "batch_size": size}, shuffle=False)
    return taken["x"] if isinstance(taken["x"], UserBatches) else given


def _must_be_ragged(model: Model, x: Clicks) -> bool:
    """Whether dense rows must become `UserBatches`, as a sampled head needs them."""
    return bool(model.needs_ragged) and isinstance(x, np.ndarray)


def _check_arrays(model: Model, x: Clicks, y: Clicks, measured: bool) -> None:
    """Checks dense arrays; the training step checks data sets and tensors."""
    for name, rows in (("x", x), ("y", y)):
        if not isinstance(rows, np.ndarray) or rows.shape[-1:] == (0,):
            continue
        model.check_shape(rows.shape, type(rows))
        predicted = name == "y" or y is None
        if not check_dense(rows, name) and predicted and measured:
            _refuse_counts(model)
    both = isinstance(x, np.ndarray) and isinstance(y, np.ndarray)
    if both and np.array_equal(x, y):
        raise ValueError(
            "The targets `y` are the input itself, whose items are never recommended. "
            "Leave `y` out to train on the input alone; to measure, give clicks that "
            "were held out."
        )


def _refuse_counts(model: Model) -> None:
    """Raises ValueError if the likelihood accepts only 0 and 1."""
    if not model.likelihood.takes_counts:
        raise ValueError(
            f"{type(model.likelihood).__name__} takes 0 and 1 alone: with other "
            "numbers its loss falls without end. Received: counts or weights. Make the "
            "clicks binary (no value column, matrix.data[:] = 1), or take another "
            "likelihood, 'multinomial' or 'gaussian'."
        )


@contextmanager
def _uploading(x: Clicks) -> Iterator[None]:
    """A context in which `UserBatches` are uploaded to the device ahead of time."""
    if not isinstance(x, UserBatches):
        yield
        return
    x.upload = backend.upload
    try:
        yield
    finally:
        x.upload = None


class Doors:
    """`fit`, `evaluate` and `predict` of a `RankingModel`, and checks of their data."""

    num_items: int
    train_function: Callable[..., Logs] | None
    # Whether dense rows must come as `UserBatches`.
    needs_ragged = False
    # Number of padding items appended for sharding.
    padding_items = 0

    def fit(
        self, x: Clicks = None, *args: object, **kwargs: object
    ) -> keras.callbacks.History:
        """As `keras.Model.fit`, for matrices too; see `UserBatches`.

        `Interactions`, a `FoldIn` or a SciPy matrix, and such validation data, become
        `UserBatches` of `batch_size` users, 32 by default as for arrays. `UserBatches`
        shuffles itself. The model is unchanged if the data is refused.
        """
        arguments = check_fit(self, arguments_of("fit", x, *args, **kwargs))
        warn_of_lost_models(self)
        self.prepare_fit(arguments["x"])
        try:
            with (
                backend.retain_freed_memory(),
                backend.without_autotuning(),
                _uploading(arguments["x"]),
            ):
                return super().fit(**arguments)  # type: ignore[misc]
        except Exception:
            # TensorFlow cannot retrace a step whose first tracing failed.
            self.train_function = None
            raise

    def prepare_fit(self, x: Clicks) -> None:
        """Prepares a model for its training data; a subclass may override it."""

    def evaluate(
        self, x: Clicks = None, *args: object, **kwargs: object
    ) -> float | list[float] | Logs:
        """As `keras.Model.evaluate`, for matrices too; users come in order."""
        given = arguments_of("evaluate", x, *args, **kwargs)
        arguments = check_rows(self, given, measured=True)
        with backend.without_autotuning():
            return super().evaluate(**arguments)  # type: ignore[misc]

    def predict(self, x: Clicks, *args: object, **kwargs: object) -> np.ndarray:
        """As `keras.Model.predict`: unmasked logits, for matrices too, in order."""
        given = arguments_of("predict", x, *args, **kwargs)
        arguments = check_rows(self, given, measured=False)
        with backend.without_autotuning():
            return super().predict(**arguments)  # type: ignore[misc]

    def save(self, filepath: object, *args: object, **kwargs: object) -> None:
        """As `keras.Model.save`, into a .keras file."""
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "A model is saved as a .keras file: Keras' HDF5 format holds no model "
                "that is a class of its own. save_weights() writes its weights alone, "
                f"as a .weights.h5 file. Received: {str(filepath)!r}."
            )
        super().save(filepath, *args, **kwargs)  # type: ignore[misc]

    def check_batches(self, x: Clicks) -> None:
        """Raises ValueError for `UserBatches` that do not fit the model."""
        # Item ids out of range are an error on one backend and ignored on another.
        if isinstance(x, UserBatches):
            x.check_distribution()
            users, items = x.inputs.shape
            self.check_shape((users, items + self.padding_items), type(x.inputs))

    def _rows(self, histories: Clicks) -> sparse.csr_matrix:
        """Histories as CSR; checks the number of items."""
        rows = as_csr(histories, "histories")
        self.check_shape(rows.shape, type(histories))
        return rows

    def check_shape(self, shape: Shape, kind: type) -> None:
        """Raises ValueError unless it is the shape (users, num_items)."""
        if len(shape) != 2 or shape[1] not in (None, self.num_items):
            raise ValueError(
                f"{type(self).__name__} takes rows of {self.num_items} items, (users, "
                f"{self.num_items}), or batches of UserBatches. Received: "
                f"{kind.__name__} of shape {tuple(shape)}."
            )
