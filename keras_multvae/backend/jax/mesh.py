"""Reading and updating some rows of an array that JAX devices may share.

XLA partitions the rest of a step well by itself. In the first layer, however, it would
exchange a row for each of the forty thousand clicks of a batch instead of one sum for
each user. Of embeddings that are sharded by item it would send everything to every
device, only to read or write some rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import keras
from jax.sharding import PartitionSpec

from keras_multvae import compat
from keras_multvae.backend import ITEMS
from keras_multvae.typing import Tensor

EVERYWHERE = PartitionSpec()


class _Split(NamedTuple):
    """A device mesh, and the axes that shard entries and items, if any."""

    mesh: jax.sharding.Mesh
    entries: str | None
    items: str | None

    def run(
        self, local: object, takes: object, gives: object, *arguments: Tensor
    ) -> Tensor:
        """Calls `local` on every device, with its shards of the arguments."""
        return jax.shard_map(
            local, mesh=self.mesh, in_specs=takes, out_specs=gives, check_vma=False
        )(*arguments)

    def places(self, item_ids: Tensor, items: int) -> tuple[Tensor, Tensor]:
        """On a device: the ids' places in its own shard, and whether they are in it."""
        places = item_ids - jax.lax.axis_index(self.items) * items
        return places, (places >= 0) & (places < items)

    def own(
        self, item_ids: Tensor, weights: Tensor, items: int
    ) -> tuple[Tensor, Tensor]:
        """On a device: places in its own shard; ids of other shards get weight 0."""
        if self.items is None:
            return item_ids, weights
        places, own = self.places(item_ids, items)
        return jnp.where(own, places, 0), jnp.where(own, weights, 0)


def sums_of_users(
    add_rows: Callable[..., Tensor],
    kernel: Tensor,
    item_ids: Tensor,
    weights: Tensor,
    segment_ids: Tensor,
    users: int,
) -> Tensor:
    """Adds up `weights * kernel[item_ids]` for each user, (users, units).

    Every device has some entries and some items, and sums over these.
    """
    split = _split(len(item_ids), len(kernel))
    if split is None:
        return add_rows(kernel, item_ids, weights, segment_ids, users)

    def local(
        kernel: Tensor, item_ids: Tensor, weights: Tensor, segment_ids: Tensor
    ) -> Tensor:
        places, weights = split.own(item_ids, weights, len(kernel))
        partial = add_rows(kernel, places, weights, segment_ids, users)
        return jax.lax.psum(partial, tuple(axis for axis in split[1:] if axis))

    entries = PartitionSpec(split.entries)
    takes = (PartitionSpec(split.items), entries, entries, entries)
    return split.run(local, takes, EVERYWHERE, kernel, item_ids, weights, segment_ids)


def sums_of_items(
    add_rows: Callable[..., Tensor],
    upstream: Tensor,
    rows: Tensor,
    weights: Tensor,
    item_ids: Tensor,
    items: int,
) -> Tensor:
    """Adds up `weights * upstream[rows]` for each item, (items, units).

    Every device has some entries, and sums these for its own items.
    """
    split = _split(len(item_ids), items)
    if split is None:
        return add_rows(upstream, rows, weights, item_ids, items)
    own_items = items // split.mesh.shape.get(split.items, 1)

    def local(
        upstream: Tensor, rows: Tensor, weights: Tensor, item_ids: Tensor
    ) -> Tensor:
        places, weights = split.own(item_ids, weights, own_items)
        partial = add_rows(upstream, rows, weights, places, own_items)
        return jax.lax.psum(partial, split.entries) if split.entries else partial

    entries, gives = PartitionSpec(split.entries), PartitionSpec(split.items)
    takes = (EVERYWHERE, entries, entries, entries)
    return split.run(local, takes, gives, upstream, rows, weights, item_ids)


def read_rows(table: Tensor, ids: Tensor) -> Tensor:
    """`table[ids]` on every device, without gradients.

    An id past the end of the table returns an arbitrary row.
    """
    split = _split(len(ids), len(table))
    if split is None or split.items is None:
        return jnp.take(table, ids, axis=0, mode="clip")

    def local(table: Tensor, ids: Tensor) -> Tensor:
        places, own = split.places(ids, len(table))
        rows = jnp.take(table, places, axis=0, mode="clip")
        return jax.lax.psum(jnp.where(own[:, None], rows, 0), split.items)

    takes = (PartitionSpec(split.items), EVERYWHERE)
    return split.run(local, takes, EVERYWHERE, table, ids)


def update_rows(
    update: Callable[..., tuple[Tensor, ...]],
    tables: tuple[Tensor, ...],
    ids: Tensor,
    *others: Tensor,
) -> tuple[Tensor, ...]:
    """Calls `update(tables, ids, *others)` on every device, for its own rows.

    Ids of other devices' rows are replaced by one past the end.
    """
    split = _split(len(ids), len(tables[0]))
    if split is None or split.items is None:
        return update(tables, ids, *others)

    def local(
        tables: tuple[Tensor, ...], ids: Tensor, *others: Tensor
    ) -> tuple[Tensor, ...]:
        size = len(tables[0])
        places, own = split.places(ids, size)
        return update(tables, jnp.where(own, places, size), *others)

    gives = (PartitionSpec(split.items),) * len(tables)
    takes = (gives, EVERYWHERE, *(EVERYWHERE for _ in others))
    return split.run(local, takes, gives, tables, ids, *others)


def _split(entries: int, items: int) -> _Split | None:
    """How the active distribution shards arrays of these sizes, or None."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return None
    mesh = compat.jax_mesh(distribution)

    def fitting(axis: str, size: int) -> str | None:
        parts = mesh.shape.get(axis, 1)
        return axis if parts > 1 and size % parts == 0 else None

    of_entries = fitting(distribution.batch_dim_name, entries)
    of_items = fitting(ITEMS, items)
    return _Split(mesh, of_entries, of_items) if of_entries or of_items else None
