"""Log-sum-exp and top-k on PyTorch."""

from __future__ import annotations

import math

import torch

from keras_multvae.backend.contract import MIN_EXACT
from keras_multvae.backend.wide import widen
from keras_multvae.typing import Tensor

# The number of floats processed at a time where several passes go over them, so that
# they stay in the cache.
CACHED = 1 << 18


def log_sum_exp(logits: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    if logits.device.type != "cpu":
        return torch.logsumexp(widen(logits), 1)
    parts = logits.split(max(CACHED // logits.shape[1], 1))
    # Without subtracting the maximum: one pass less, and as exact unless a sum leaves
    # float32's range.
    wide = torch.promote_types(logits.dtype, torch.float32)
    total = torch.cat([part.to(wide).exp().sum(1) for part in parts])
    if bool(((total > MIN_EXACT) & (total < math.inf)).all()):
        return total.log()
    return torch.logsumexp(widen(logits), 1)


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend`."""
    if scores.device.type == "cuda":
        return _top_k_by_keys(scores, k)
    # One more than k shows which rows have a tie at the k-th place.
    values, indices = torch.topk(scores, min(k + 1, scores.shape[1]))
    if k < scores.shape[1]:
        tied = torch.nonzero(values[:, k - 1] == values[:, k])[:, 0]
        if len(tied):
            indices[tied, :k] = _first(scores[tied], values[tied, k - 1 : k], k)
    # Ascending indices; the stable sort by value keeps this order among equals.
    indices = torch.sort(indices[:, :k], dim=1).values
    values, order = torch.sort(
        torch.gather(scores, 1, indices), dim=1, descending=True, stable=True
    )
    return values, torch.gather(indices, 1, order)


def _top_k_by_keys(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Sorts by int keys of score and index, so that the host reads nothing back."""
    bits = (scores.float() + 0.0).view(torch.int32)  # -0 is 0 now
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    places = torch.arange(scores.shape[1] - 1, -1, -1, device=scores.device)
    keys = (rising.long() << 32) | places
    best = torch.topk(keys, k, dim=1).values
    indices = scores.shape[1] - 1 - (best & 0xFFFFFFFF)
    return torch.gather(scores, 1, indices), indices


def _first(scores: Tensor, bounds: Tensor, k: int) -> Tensor:
    """The indices of the scores above a row's bound, and of the first equal to it."""
    above = ~(scores <= bounds)  # NaN too, which counts as the largest
    equal = scores == bounds
    left = k - above.sum(1, keepdim=True)
    equal &= torch.cumsum(equal, 1, dtype=torch.int32) <= left
    return torch.nonzero(above | equal)[:, 1].view(len(scores), k)
