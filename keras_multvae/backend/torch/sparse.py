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
        return embedding_bag(
            item_ids,
            kernel,
            _starts(segment_ids, users).to(item_ids.dtype),
            mode="sum",
            per_sample_weights=values,
        )

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> Tensor:
        segment_ids, item_ids, values = ctx.saved_tensors
        gradient = sums_of_items(upstream, segment_ids, item_ids, values, ctx.items)
        return gradient, None, None, None, None


def sums_of_items(
    rows: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor, items: int
) -> Tensor:
    """For each item, the sum of its entries' rows times values: (items, units).

    Args:
        rows: (users, units).
        segment_ids: (entries,) int64, the row of each entry.
        item_ids: (entries,), in any order.
        values: (entries,).
        items: How many items there are.
    """
    order = torch.argsort(item_ids)
    return embedding_bag(
        segment_ids[order],
        rows.contiguous(),
        _starts(item_ids, items),
        mode="sum",
        per_sample_weights=values[order],
    )


def _starts(ids: Tensor, size: int) -> Tensor:
    """Where the entries of each id begin, once they are sorted: (size,) int64."""
    counts = torch.bincount(ids, minlength=size)
    return torch.cumsum(counts, 0) - counts


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
