"""What scores and rankings are made of, on PyTorch."""

from __future__ import annotations

import math

import torch

from keras_multvae.typing import Tensor

# Floats that are worked on at a time where more passes than one go over them: they
# stay in a processor's cache.
CACHED = 1 << 18
# Sums of exp from here on down may have lost digits to numbers below float32's range.
MIN_EXACT_SUM = 1e-30


def log_sum_exp(logits: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    if logits.device.type != "cpu":
        return torch.logsumexp(logits, 1)
    parts = logits.split(max(CACHED // logits.shape[1], 1))
    # Without looking for the largest first: a pass less, and as exact where nothing
    # leaves float32's range.
    total = torch.cat([part.exp().sum(1) for part in parts])
    if bool(((total > MIN_EXACT_SUM) & (total < math.inf)).all()):
        return total.log()
    return torch.logsumexp(logits, 1)


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend`."""
    if scores.device.type == "cuda":
        return _top_k_by_keys(scores, k)
    # One more than is wanted says where the last of them is as large as others.
    values, indices = torch.topk(scores, min(k + 1, scores.shape[1]))
    if k < scores.shape[1]:
        tied = torch.nonzero(values[:, k - 1] == values[:, k])[:, 0]
        if len(tied):
            indices[tied, :k] = _first(scores[tied], values[tied, k - 1 : k], k)
    # Rising indices, which the stable sort by value keeps among equals.
    indices = torch.sort(indices[:, :k], dim=1).values
    values, order = torch.sort(
        torch.gather(scores, 1, indices), dim=1, descending=True, stable=True
    )
    return values, torch.gather(indices, 1, order)


def _top_k_by_keys(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """By ints that order a row's scores, then its indices: nothing is read back."""
    bits = (scores.float() + 0.0).view(torch.int32)  # -0 is 0 now
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    places = torch.arange(scores.shape[1] - 1, -1, -1, device=scores.device)
    keys = (rising.long() << 32) | places
    best = torch.topk(keys, k, dim=1).values
    indices = scores.shape[1] - 1 - (best & 0xFFFFFFFF)
    return torch.gather(scores, 1, indices), indices


def _first(scores: Tensor, bounds: Tensor, k: int) -> Tensor:
    """The indices of what is above a row's bound, and of the first that equal it."""
    above = ~(scores <= bounds)  # NaN too, which counts as the largest
    equal = scores == bounds
    left = k - above.sum(1, keepdim=True)
    equal &= torch.cumsum(equal, 1, dtype=torch.int32) <= left
    return torch.nonzero(above | equal)[:, 1].view(len(scores), k)
