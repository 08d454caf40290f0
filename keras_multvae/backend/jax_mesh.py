"""What touches some rows of a table, where JAX computes on several devices.

XLA splits all else of a step up well by itself. In the first layer it would add up over
the devices the row that every click gathers, forty thousand of them in a batch, in
place of the sum of each user; and of a table that is split up by item it would send all
of it to every device, for some rows to be read or written.
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


def read_rows(split: Split, table: Any, ids: Any) -> Any:
    """`table[ids]`, on every device; each gives what it has. No gradients."""

    def local(table: Any, ids: Any) -> Any:
        places, own = _places(split, ids, len(table))
        rows = jnp.take(table, places, axis=0, mode="clip")
        return jax.lax.psum(jnp.where(own[:, None], rows, 0), split.items)

    return jax.shard_map(
        local,
        mesh=split.mesh,
        in_specs=(PartitionSpec(split.items), PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=False,
    )(table, ids)


def update_rows(
    split: Split,
    update: Callable[..., tuple[Any, ...]],
    tables: tuple[Any, ...],
    ids: Any,
    *others: Any,
) -> tuple[Any, ...]:
    """`update(tables, ids, *others)` on every device, for the rows that it has.

    Ids of other devices' rows are past the end of its tables.
    """

    def local(tables: tuple[Any, ...], ids: Any, *others: Any) -> tuple[Any, ...]:
        size = len(tables[0])
        places, own = _places(split, ids, size)
        return update(tables, jnp.where(own, places, size), *others)

    of_items = (PartitionSpec(split.items),) * len(tables)
    return jax.shard_map(
        local,
        mesh=split.mesh,
        in_specs=(of_items, PartitionSpec(), *(PartitionSpec() for _ in others)),
        out_specs=of_items,
        check_vma=False,
    )(tables, ids, *others)


def _own(split: Split, item_ids: Any, weights: Any, items: int) -> tuple[Any, Any]:
    """Places among a device's own items; those of others weigh nothing."""
    if split.items is None:
        return item_ids, weights
    places, own = _places(split, item_ids, items)
    return jnp.where(own, places, 0), jnp.where(own, weights, 0)


def _places(split: Split, item_ids: Any, items: int) -> tuple[Any, Any]:
    """Places among a device's own items, and whether it has them."""
    places = item_ids - jax.lax.axis_index(split.items) * items
    return places, (places >= 0) & (places < items)
