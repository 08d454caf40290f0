"""The base class of baselines: checks of data, and files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.data.columns.clicks import as_csr
from keras_multvae.data.columns.mapped import in_memory
from keras_multvae.files import DamagedFileError, open_regular, replace_file
from keras_multvae.tables import settings_text
from keras_multvae.typing import Clicks

Fitted = TypeVar("Fitted")


class Baseline:
    """Base class of models that consist of some NumPy arrays.

    Args:
        num_items: Int, size of the catalogue.
    """

    def __init__(self, num_items: int) -> None:
        self.num_items = checks.integer("num_items", num_items)

    # The name of the attribute that `fit` makes, if it is None before.
    _learnt: str | None = None

    def __repr__(self) -> str:
        empty = self._learnt and getattr(self, self._learnt, None) is None
        state = ", not fitted" if empty else ""
        return f"{type(self).__name__}({settings_text(settings_of(self))}{state})"

    def _arrays(self) -> dict[str, Any]:
        """The arrays to store, by name."""
        raise NotImplementedError

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The model of these arrays."""
        raise NotImplementedError

    def _matrix(
        self, interactions: Clicks, name: str = "interactions"
    ) -> sparse.csr_matrix:
        """The CSR matrix of any argument of `as_csr`; checks the number of items."""
        matrix = in_memory(as_csr(interactions, name))
        if matrix.shape[1] != self.num_items:
            raise ValueError(
                f"{type(self).__name__} ranks {self.num_items} items. Received: a "
                f"matrix with {matrix.shape[1]}."
            )
        return matrix

    def _fitted(self, array: Fitted | None) -> Fitted:
        """The array that `fit` made; raises an error before."""
        if array is None:
            raise ValueError(
                f"This {type(self).__name__} has learnt nothing yet: call fit() first."
            )
        return array

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as one .npz file, atomically."""
        arrays = self._arrays()
        with replace_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote.

        Raises:
            DamagedFileError: A missing, truncated or foreign file.
        """
        try:
            with (
                open_regular(Path(path)) as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                return cls._from_arrays(arrays)
        # A header may contain anything, even endless nesting.
        except Exception as error:
            raise DamagedFileError(
                f"{path} holds no {cls.__name__} model ({error})."
            ) from None


def settings_of(model: object) -> dict[str, bool | int | float | str]:
    """The attributes of a model that is no Keras model that hold plain values."""
    return {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, bool | int | float | str) and not name.startswith("_")
    }


def stored(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...]
) -> np.ndarray:
    """An array of a model's file; checks its shape, and that it is finite."""
    array = arrays[name]
    good = len(array.shape) == len(shape) and all(
        wanted in (None, found)
        for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not (good and array.dtype.kind in "iuf" and np.isfinite(array).all()):
        raise ValueError(
            f"{name!r} must hold finite numbers of the shape {shape}; it has the shape "
            f"{array.shape} and the dtype {array.dtype}"
        )
    return array
