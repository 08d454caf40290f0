"""Sums of rows that entries of a batch name, on PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import embedding_bag

from keras_multvae.typing import Tensor

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

# The length of the segments into which padding is split on a GPU.
PADDING = 512


def sparse_dense_matmul(
    entries_per_user: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
    values: Tensor,
    kernel: Tensor,
) -> Tensor:
    """See `keras_multvae.backend`."""
    users = entries_per_user.shape[0]
    values = values.to(kernel.dtype)
    if kernel.device.type == "cpu":
        # Padding and dropped entries would cost a row of memory traffic each. (On a
        # GPU, the host would have to wait for their number.)
        kept = values != 0
        owners = segment_ids[kept]
        return _SumsOfUsers.apply(kernel, owners, item_ids[kept], values[kept], users)
    starts = (torch.cumsum(entries_per_user, 0) - entries_per_user).to(item_ids.dtype)
    starts = torch.cat([starts, _padding(values, starts[-1]).to(starts.dtype)])
    return embedding_bag(
        item_ids, kernel, starts, mode="sum", per_sample_weights=values
    )[:users]


class _SumsOfUsers(torch.autograd.Function):
    """Each user's sum of weighted rows; the gradient has such a sum for each item."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        kernel: Tensor,
        segment_ids: Tensor,
        item_ids: Tensor,
        values: Tensor,
        users: int,
    ) -> Tensor:
        ctx.save_for_backward(segment_ids, item_ids, values)
        ctx.items = len(kernel)
        return sums_of_users(kernel, segment_ids, item_ids, values, users)

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> Tensor:
        segment_ids, item_ids, values = ctx.saved_tensors
        gradient = sums_of_items(upstream, segment_ids, item_ids, values, ctx.items)
        return gradient, None, None, None, None


def sums_of_users(
    rows: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor, users: int
) -> Tensor:
    """For each user, the sum of the entries' rows times values: (users, units).

    Args:
        rows: (items, units).
        segment_ids: (entries,), the user of each entry, ascending.
        item_ids: (entries,), the row of each entry.
        values: (entries,).
        users: How many users there are.
    """
    sizes = torch.bincount(segment_ids, minlength=users)
    starts = torch.cumsum(sizes, 0) - sizes
    return embedding_bag(
        item_ids,
        rows,
        starts.to(item_ids.dtype),
        mode="sum",
        per_sample_weights=values,
    )


def sums_of_items(
    rows: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor, items: int
) -> Tensor:
    """For each item, the sum of its entries' rows times values: (items, units).

    As `sums_of_users` with users and items in each other's place; `rows` is (users,
    units), and `item_ids` need not ascend.
    """
    order = torch.argsort(item_ids)
    return sums_of_users(
        rows.contiguous(), item_ids[order], segment_ids[order], values[order], items
    )


def _padding(values: Tensor, last: Tensor) -> Tensor:
    """Offsets that split the padding at the end into short segments.

    Otherwise it is one long segment of the last user, which a GPU sums entry by entry.

    Args:
        values: (entries,).
        last: Where the last user's entries begin; all of them may have been dropped.
    """
    entries = len(values)
    places = torch.arange(1, entries + 1, device=values.device)
    end = torch.where(values != 0, places, torch.zeros_like(places)).amax()
    starts = torch.arange(0, entries + 1, PADDING, device=values.device)
    return (torch.maximum(end, last) + starts).clamp(max=entries)
