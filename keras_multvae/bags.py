"""Compact sparse batches on the device ("bags"); the layout is in architecture.md."""

from __future__ import annotations

from typing import Any, TypeGuard

from keras import ops

from keras_multvae import backend
from keras_multvae.typing import Tensor

KEYS = ("bag_sizes", "item_ids", "values")


def is_bags(batch: object) -> TypeGuard[dict[str, Any]]:
    """Whether `batch` is a bag batch rather than dense rows."""
    if not isinstance(batch, dict):
        return False
    if set(batch) != set(KEYS):
        raise ValueError(
            f"A sparse batch is a dict with the keys {', '.join(KEYS)}, as UserBatches "
            f"makes it. Received keys: {', '.join(map(str, batch))}."
        )
    return True


def num_users(bags: dict[str, Any]) -> Tensor:
    """Users in the batch: an int, or a scalar tensor where it is not static."""
    return ops.shape(bags["bag_sizes"])[0]


def rows(bags: dict[str, Any]) -> Tensor:
    """The user index of each entry, (entries,) ints, ascending."""
    sizes, item_ids = (bags[key] for key in ("bag_sizes", "item_ids"))
    return backend.rows(*map(ops.convert_to_tensor, (sizes, item_ids)))


def segment_sum(bags: dict[str, Any], entry_values: Tensor) -> Tensor:
    """Sums (entries,) values over each user's entries: (users,)."""
    values = ops.convert_to_tensor(entry_values)
    return backend.segment_sum(values, rows(bags), num_users(bags))


def to_dense(bags: dict[str, Any], num_items: int) -> Tensor:
    """The batch as a dense float32 matrix (users, items), made on the device."""
    values = ops.cast(bags["values"], "float32")
    item_ids = ops.convert_to_tensor(bags["item_ids"])
    return backend.to_dense(rows(bags), item_ids, values, (num_users(bags), num_items))


def matmul(bags: dict[str, Any], values: Tensor, kernel: Tensor) -> Tensor:
    """The sparse rows, with `values` for their entries, times kernel (items, units)."""
    return backend.bag_matmul(
        bags["bag_sizes"], rows(bags), bags["item_ids"], values, kernel
    )


def multinomial_nll(bags: dict[str, Any], logits: Tensor) -> Tensor:
    """Minus `sum_i x_ui log softmax(f_u)_i` of each user: (users,)."""
    values = ops.cast(bags["values"], logits.dtype)
    item_ids = ops.convert_to_tensor(bags["item_ids"])
    return backend.multinomial_nll(logits, rows(bags), item_ids, values)


def gather(bags: dict[str, Any], matrix: Tensor) -> Tensor:
    """`matrix[user, item]` of each entry: (users, items) -> (entries,)."""
    return backend.gather(matrix, rows(bags), ops.convert_to_tensor(bags["item_ids"]))
