"""Item tables of which a step reads and writes a few rows, on PyTorch."""

from __future__ import annotations

from typing import Any

import torch

from keras_multvae import compat
from keras_multvae.backend.torch.adam import fused_adam
from keras_multvae.backend.torch.ranking import CACHED
from keras_multvae.typing import Tensor, Variable

COMPILES = True


def unique_ids(item_ids: Tensor) -> tuple[Any, Any]:
    """See `keras_multvae.backend`."""
    ids, places = torch.unique(item_ids, return_inverse=True)
    return ids, places


def embedding_lookup(table: Tensor, ids: Tensor, sparse: bool) -> Tensor:
    """See `keras_multvae.backend`."""
    return _wide(torch.nn.functional.embedding(ids, table.value, sparse=sparse))


class _EntryProducts(torch.autograd.Function):
    """Products of pairs of rows, whose gradients are sparse products."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        table: Tensor,
        entries_per_user: Tensor,
        rows: Tensor,
        item_ids: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(hidden, table, entries_per_user, rows, item_ids)
        return (hidden[rows] * table[item_ids]).sum(1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        hidden, table, entries_per_user, rows, item_ids = ctx.saved_tensors
        offsets = torch.cumsum(entries_per_user, 0) - entries_per_user
        of_hidden = torch.nn.functional.embedding_bag(
            item_ids,
            table,
            offsets.to(item_ids.dtype),
            mode="sum",
            per_sample_weights=upstream,
        )
        order = torch.argsort(item_ids)
        counts = torch.bincount(item_ids, minlength=table.shape[0])
        of_table = torch.nn.functional.embedding_bag(
            rows[order],
            hidden,
            torch.cumsum(counts, 0) - counts,
            mode="sum",
            per_sample_weights=upstream[order],
        )
        return of_hidden, of_table, None, None, None


def entry_products(
    hidden: Tensor, table: Tensor, entries_per_user: Tensor, rows: Tensor, item_ids: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _EntryProducts.apply(hidden, table, entries_per_user, rows, item_ids)


def sparse_gradient(gradient: Tensor) -> tuple[Any, Any] | None:
    """See `keras_multvae.backend`."""
    if not gradient.is_sparse:
        return None
    # The ids are distinct, as `embedding_lookup` got them: there is nothing to add up.
    return compat.sparse_parts(gradient)


def sparse_adam_update(
    variable: Variable,
    momentum: Variable,
    velocity: Variable,
    ids: Tensor,
    gradient: Tensor,
    step: Tensor,
    seed: Any,
    **rates: Any,
) -> None:
    """See `keras_multvae.backend`."""
    with torch.no_grad():
        tables = [each.value for each in (variable, momentum, velocity)]
        weights, m, v = (_wide(table.index_select(0, ids)) for table in tables)
        fused_adam(weights, m, v, _wide(gradient), step, **rates)
        for number, (table, rows) in enumerate(
            zip(tables, (weights, m, v), strict=True)
        ):
            if table.dtype == torch.bfloat16:
                rows = round_at_random(rows, 3 * seed + number)
            table.index_copy_(0, ids, rows)


def round_at_random(values: Tensor, seed: Any) -> Tensor:
    """See `keras_multvae.backend`."""
    device = values.device
    generator = torch.Generator(device).manual_seed(int(seed))
    # The sum is even on 0 ... 65535 for each number, though not for all together: what
    # one draw a number would add to that costs as much as the step.
    of_rows, of_columns = (
        torch.randint(
            1 << 16, shape, generator=generator, dtype=torch.int32, device=device
        )
        for shape in [(values.shape[0], 1), (1, values.shape[1])]
    )
    # Bits and noise of a part stay in the cache.
    size = max(CACHED // (2 * values.shape[1]), 1)
    size = size if device.type == "cpu" else len(values)
    parts = []
    for bits, row in zip(
        values.view(torch.int32).split(size), of_rows.split(size), strict=True
    ):
        noise = (row + of_columns).bitwise_and_(0xFFFF)
        parts.append(noise.add_(bits).bitwise_right_shift_(16).to(torch.int16))
    return torch.cat(parts).view(torch.bfloat16)


def _wide(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype == torch.bfloat16 else rows
