"""The sparse first layer where JAX computes on several devices.

XLA splits all else of a step up well by itself. Of this layer it would add up over the
devices the row that every click gathers, forty thousand of them in a batch, in place of
the sum of each user.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
from jax.sharding import PartitionSpec

from keras_multvae.backend import ITEMS


class Split(NamedTuple):
    """A mesh of devices, and which of its axes parts entries and items, if any."""

    mesh: Any
    entries: str | None
    items: str | None


def current(entries: int, items: int) -> Split | None:
    """How the distribution in force splits arrays of these sizes up, if there is one.

    Args:
        entries: Stored entries of the batch.
        items: Rows of the table.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return None
    mesh = distribution.device_mesh.backend_mesh

    def fitting(axis: str, size: int) -> str | None:
        parts = mesh.shape.get(axis, 1)
        return axis if parts > 1 and size % parts == 0 else None

    return Split(
        mesh, fitting(distribution.batch_dim_name, entries), fitting(ITEMS, items)
    )


def sums_of_users(
    add_rows: Callable[..., Any],
    split: Split,
    kernel: Any,
    item_ids: Any,
    weights: Any,
    rows: Any,
    users: int,
) -> Any:
    """Adds up `weights * kernel[item_ids]` for each user, (users, units).

    Every device has some entries and some items. It adds up what it has of all users.
    """

    def local(kernel: Any, item_ids: Any, weights: Any, rows: Any) -> Any:
        places, weights = _own(split, item_ids, weights, kernel.shape[0])
        partial = add_rows(kernel, places, weights, rows, users)
        axes = tuple(axis for axis in (split.entries, split.items) if axis)
        return jax.lax.psum(partial, axes) if axes else partial

    entries = PartitionSpec(split.entries)
    return jax.shard_map(
        local,
        mesh=split.mesh,
        in_specs=(PartitionSpec(split.items), entries, entries, entries),
        out_specs=PartitionSpec(),
        check_vma=False,
    )(kernel, item_ids, weights, rows)


def sums_of_items(
    add_rows: Callable[..., Any],
    split: Split,
    upstream: Any,
    rows: Any,
    weights: Any,
    item_ids: Any,
    items: int,
) -> Any:
    """Adds up `weights * upstream[rows]` for each item, (items, units).

    Every device has some entries, and adds them up for the items that it has.
    """
    own_items = items // (split.mesh.shape[split.items] if split.items else 1)

    def local(upstream: Any, rows: Any, weights: Any, item_ids: Any) -> Any:
        places, weights = _own(split, item_ids, weights, own_items)
        partial = add_rows(upstream, rows, weights, places, own_items)
        return jax.lax.psum(partial, split.entries) if split.entries else partial

    entries = PartitionSpec(split.entries)
    return jax.shard_map(
        local,
        mesh=split.mesh,
        in_specs=(PartitionSpec(), entries, entries, entries),
        out_specs=PartitionSpec(split.items),
        check_vma=False,
    )(upstream, rows, weights, item_ids)


def _own(split: Split, item_ids: Any, weights: Any, items: int) -> tuple[Any, Any]:
    """Places among a device's own items; those of others weigh nothing."""
    if split.items is None:
        return item_ids, weights
    places = item_ids - jax.lax.axis_index(split.items) * items
    own = (places >= 0) & (places < items)
    return jnp.where(own, places, 0), jnp.where(own, weights, 0)
