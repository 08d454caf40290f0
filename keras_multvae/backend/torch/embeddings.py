"""Item embeddings of which a step reads and writes some rows, on PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from keras_multvae import compat
from keras_multvae.backend.torch.adam import fused_adam
from keras_multvae.backend.torch.ranking import CACHED
from keras_multvae.backend.torch.sparse import sums_of_items, sums_of_users
from keras_multvae.backend.wide import widen
from keras_multvae.typing import Tensor, Variable

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

COMPILES = True


def unique_ids(item_ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend`."""
    ids, places = torch.unique(item_ids, return_inverse=True)
    return ids, places


def embedding_lookup(embeddings: Tensor, ids: Tensor, sparse: bool) -> Tensor:
    """See `keras_multvae.backend`."""
    return widen(torch.nn.functional.embedding(ids, embeddings.value, sparse=sparse))


class _EntryProducts(torch.autograd.Function):
    """Inner products of pairs of rows, whose gradients are sparse products."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        embeddings: Tensor,
        segment_ids: Tensor,
        item_ids: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(hidden, embeddings, segment_ids, item_ids)
        return (hidden[segment_ids] * embeddings[item_ids]).sum(1)

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> Tensor:
        hidden, embeddings, segment_ids, item_ids = ctx.saved_tensors
        of_hidden = sums_of_users(
            embeddings, segment_ids, item_ids, upstream, len(hidden)
        )
        of_table = sums_of_items(
            hidden, segment_ids, item_ids, upstream, len(embeddings)
        )
        return of_hidden, of_table, None, None


def entry_products(
    hidden: Tensor,
    embeddings: Tensor,
    entries_per_user: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _EntryProducts.apply(hidden, embeddings, segment_ids, item_ids)


def sparse_gradient(gradient: Tensor) -> tuple[Tensor, Tensor] | None:
    """See `keras_multvae.backend`."""
    if not gradient.is_sparse:
        return None
    # The ids are distinct, as `embedding_lookup` requires, so no rows need adding up.
    return compat.sparse_parts(gradient)


def sparse_adam_update(
    variable: Variable,
    momentum: Variable,
    velocity: Variable,
    ids: Tensor,
    gradient: Tensor,
    step: Tensor,
    seed: Tensor,
    **rates: Tensor,
) -> None:
    """See `keras_multvae.backend`."""
    with torch.no_grad():
        tables = [each.value for each in (variable, momentum, velocity)]
        weights, m, v = (widen(table.index_select(0, ids)) for table in tables)
        fused_adam(weights, m, v, widen(gradient), step, **rates)
        for number, (table, rows) in enumerate(
            zip(tables, (weights, m, v), strict=True)
        ):
            if table.dtype == torch.bfloat16:
                rows = round_at_random(rows, 3 * seed + number)
            table.index_copy_(0, ids, rows)


def round_at_random(values: Tensor, seed: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    device = values.device
    generator = torch.Generator(device).manual_seed(int(seed))
    # Each sum is uniform on 0 ... 65535, though sums are not independent of one
    # another: one draw for each number would cost as much as the step.
    of_rows, of_columns = (
        torch.randint(
            1 << 16, shape, generator=generator, dtype=torch.int32, device=device
        )
        for shape in [(values.shape[0], 1), (1, values.shape[1])]
    )
    # Part by part, so that bits and noise stay in the cache.
    size = max(CACHED // (2 * values.shape[1]), 1)
    size = size if device.type == "cpu" else len(values)
    parts = []
    for bits, row in zip(
        values.view(torch.int32).split(size), of_rows.split(size), strict=True
    ):
        noise = (row + of_columns).bitwise_and_(0xFFFF)
        parts.append(noise.add_(bits).bitwise_right_shift_(16).to(torch.int16))
    return torch.cat(parts).view(torch.bfloat16)
