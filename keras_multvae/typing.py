"""Names of types that Keras and the backends have no common type for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict

if TYPE_CHECKING:  # NumPy takes a tenth of a second, which `--help` need not wait for.
    import numpy as np

# A tensor of the backend that Keras runs on, or what `keras.ops` takes in its place.
Tensor: TypeAlias = Any
# A `keras.Variable`.
Variable: TypeAlias = Any
# A `keras.random.SeedGenerator`.
Seeds: TypeAlias = Any
# A `keras.Model` or a baseline; what it must be able to do stands in `abilities`.
Model: TypeAlias = Any
# Users' clicks in any of the forms that `UserBatches` takes.
Clicks: TypeAlias = Any
# Histories in any of the forms that `Recommender` takes.
Histories: TypeAlias = Any
# A column of a data frame of any package, an array or a list.
Column: TypeAlias = Any
# A data frame of any package.
Frame: TypeAlias = Any
# A value of a column of a file of items.
Value: TypeAlias = Any
# Arguments by name that are handed on.
Options: TypeAlias = Any
# An object of JSON.
Json: TypeAlias = dict[str, Any]
# Any value of JSON.
JsonValue: TypeAlias = (
    "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
)
# What Keras tells callbacks.
Logs: TypeAlias = dict[str, Any]

# A raw id of a user or an item.
Id: TypeAlias = int | str
# Titles of items by raw id. (The keys of a `Mapping` are invariant.)
Titles: TypeAlias = Mapping[int, str] | Mapping[str, str] | Mapping[Id, str]
# Consecutive events: columns of equal length by name.
Chunk: TypeAlias = dict[str, Column]
# The shape of a tensor; None where a size is not known.
Shape: TypeAlias = tuple[int | None, ...]
# On JAX, what a step reads and returns: values of variables, group by group.
State: TypeAlias = tuple[list[Tensor], ...]


class Batch(TypedDict):
    """A ragged batch; docs/architecture.md has the layout."""

    entries_per_user: Tensor
    item_ids: Tensor
    values: Tensor


# What `UserBatches` yields: input, targets and perhaps sample weights.
Arrays: TypeAlias = "tuple[Batch | np.ndarray, ...]"


class Store(Protocol):
    """What Keras saves the variables of a layer or optimiser to, by name."""

    def keys(self) -> Collection[str]:
        """Names of the variables."""

    def __getitem__(self, key: str) -> np.ndarray:
        """The value of a variable."""

    def __setitem__(self, key: str, value: np.ndarray) -> None:
        """Stores a value."""
