"""Sparse products on PyTorch."""

from __future__ import annotations

from typing import Any

import torch


def bag_matmul(
    bag_sizes: Any, rows: Any, item_ids: Any, values: Any, kernel: Any, xla: bool
) -> Any:
    """See `keras_multvae.backend`."""
    offsets = torch.cumsum(bag_sizes, 0, dtype=item_ids.dtype) - bag_sizes
    return torch.nn.functional.embedding_bag(
        item_ids,
        kernel,
        offsets.to(item_ids.dtype),
        mode="sum",
        per_sample_weights=values.to(kernel.dtype),
    )


def to_dense(rows: Any, item_ids: Any, values: Any, shape: tuple[Any, int]) -> Any:
    """See `keras_multvae.backend`."""
    flat = rows.long() * shape[1] + item_ids.long()
    zeros = torch.zeros(shape[0] * shape[1], dtype=values.dtype, device=values.device)
    return zeros.index_add_(0, flat, values).view(shape)


def gather(matrix: Any, rows: Any, item_ids: Any) -> Any:
    """See `keras_multvae.backend`."""
    return matrix[rows.long(), item_ids.long()]


def num_replicas() -> int:
    """See `keras_multvae.backend`: PyTorch's DDP averages gradients itself."""
    return 1


def inference(function: Any, variables: Any) -> Any:
    """See `keras_multvae.backend`."""

    def run(inputs: Any) -> Any:
        with torch.inference_mode():
            return tuple(tensor.cpu().numpy() for tensor in function(inputs))

    return run
