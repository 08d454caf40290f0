"""Compact sparse batches on the device; the layout is in architecture.md."""

from __future__ import annotations

from typing import Any, TypeGuard

from keras import ops

from keras_multvae import backend
from keras_multvae.typing import Tensor

KEYS = ("entries_per_user", "item_ids", "values")


def is_ragged(batch: object) -> TypeGuard[dict[str, Any]]:
    """Whether `batch` is a ragged batch rather than dense rows."""
    if not isinstance(batch, dict):
        return False
    if set(batch) != set(KEYS):
        raise ValueError(
            f"A sparse batch is a dict with the keys {', '.join(KEYS)}, as UserBatches "
            f"makes it. Received keys: {', '.join(map(str, batch))}."
        )
    return True


def num_users(batch: dict[str, Any]) -> Tensor:
    """Users in the batch: an int, or a scalar tensor where it is not static."""
    return ops.shape(batch["entries_per_user"])[0]


def segment_ids(batch: dict[str, Any]) -> Tensor:
    """The user index of each entry, (entries,) ints, ascending."""
    sizes, item_ids = (batch[key] for key in ("entries_per_user", "item_ids"))
    return backend.segment_ids(*map(ops.convert_to_tensor, (sizes, item_ids)))


def segment_sum(batch: dict[str, Any], entry_values: Tensor) -> Tensor:
    """Sums (entries,) values over each user's entries: (users,)."""
    values = ops.convert_to_tensor(entry_values)
    return backend.segment_sum(values, segment_ids(batch), num_users(batch))


def to_dense(batch: dict[str, Any], num_items: int) -> Tensor:
    """The batch as a dense float32 matrix (users, items), made on the device."""
    values = ops.cast(batch["values"], "float32")
    item_ids = ops.convert_to_tensor(batch["item_ids"])
    return backend.to_dense(segment_ids(batch), item_ids, values, (num_users(batch), num_items))


def matmul(batch: dict[str, Any], values: Tensor, kernel: Tensor) -> Tensor:
    """The sparse rows, with `values` for their entries, times kernel (items, units)."""
    return backend.sparse_dense_matmul(
        batch["entries_per_user"], segment_ids(batch), batch["item_ids"], values, kernel
    )


def multinomial_nll(batch: dict[str, Any], logits: Tensor) -> Tensor:
    """Minus `sum_i x_ui log softmax(f_u)_i` of each user: (users,)."""
    values = ops.cast(batch["values"], logits.dtype)
    item_ids = ops.convert_to_tensor(batch["item_ids"])
    return backend.multinomial_nll(logits, segment_ids(batch), item_ids, values)


def gather_nd(batch: dict[str, Any], matrix: Tensor) -> Tensor:
    """`matrix[user, item]` of each entry: (users, items) -> (entries,)."""
    return backend.gather_nd(matrix, segment_ids(batch), ops.convert_to_tensor(batch["item_ids"]))
