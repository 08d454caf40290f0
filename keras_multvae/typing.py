"""Names of types that Keras and the backends have no common type for."""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict

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
# A raw id of a user or an item: an int, or text.
RawId: TypeAlias = Any
# A value of a column of a file of items.
Value: TypeAlias = Any
# Arguments by name that are handed on.
Options: TypeAlias = Any
# Axes of matplotlib, which is optional.
Axes: TypeAlias = Any
# An object of JSON.
Json: TypeAlias = dict[str, Any]
# What Keras tells callbacks.
Logs: TypeAlias = dict[str, Any]


class Batch(TypedDict):
    """A compact sparse batch; docs/architecture.md has the layout."""

    entries_per_user: Tensor
    item_ids: Tensor
    values: Tensor
