"""Names of types that Keras and the backends have no common type for."""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict

# A tensor of the backend that Keras runs on, or what `keras.ops` takes in its place.
Tensor: TypeAlias = Any
# A `keras.Variable`.
Variable: TypeAlias = Any


class Batch(TypedDict):
    """A compact sparse batch; docs/architecture.md has the layout."""

    bag_sizes: Tensor
    item_ids: Tensor
    values: Tensor
