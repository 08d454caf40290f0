"""Products, the multinomial likelihood and Adam on PyTorch."""

from __future__ import annotations

import contextlib
import ctypes
import math
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import torch

from keras_multvae import compat
from keras_multvae.backend.torch.graphs import generator

# Floats that are worked on at a time where more passes than one go over them: they
# stay in a processor's cache.
CACHED = 1 << 18
# Sums of exp from here on down may have lost digits to numbers below float32's range.
FAINT = 1e-30
# mallopt's parameters and defaults, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
DEFAULTS = {M_TRIM_THRESHOLD: 128 << 10, M_MMAP_MAX: 65536}
_adam = compat.torch_adam()
with warnings.catch_warnings():
    # The first sparse matrix of a process warns that they are in a beta state.
    warnings.simplefilter("ignore")
    torch.eye(1).to_sparse_csr()
# Entries that are nothing but padding, in a bag on a GPU.
PADDING = 512
# A step at which Adam's moments have no bias left.
FAR = 1e12
# One entry for each `kept_memory` that is open.
_keepers: list[Any] = []


def rows(bag_sizes: Any, item_ids: Any) -> Any:
    """See `keras_multvae.backend`."""
    users = torch.arange(bag_sizes.shape[0], device=bag_sizes.device)
    return torch.repeat_interleave(users, bag_sizes, output_size=item_ids.shape[0])


def bag_matmul(
    bag_sizes: Any, rows: Any, item_ids: Any, values: Any, kernel: Any
) -> Any:
    """See `keras_multvae.backend`."""
    users = bag_sizes.shape[0]
    if kernel.device.type == "cpu":
        # Padding and what dropout took cost a row of memory traffic each. (Elsewhere
        # the host would have to wait for their number.)
        kept = values != 0
        item_ids, values = item_ids[kept], values[kept]
        bag_sizes = torch.bincount(rows[kept], minlength=users)
    offsets = (torch.cumsum(bag_sizes, 0) - bag_sizes).to(item_ids.dtype)
    if kernel.device.type != "cpu":
        offsets = torch.cat([offsets, _padding(values, item_ids.dtype)])
    return torch.nn.functional.embedding_bag(
        item_ids,
        kernel,
        offsets,
        mode="sum",
        per_sample_weights=values.to(kernel.dtype),
    )[:users]


def _padding(values: Any, dtype: Any) -> Any:
    """Offsets that cut zeros at the end into bags of their own.

    They are the last user's padding: one bag, of which a GPU takes an entry at a time.
    """
    entries = len(values)
    places = torch.arange(1, entries + 1, device=values.device)
    end = torch.where(values != 0, places, torch.zeros_like(places)).amax()
    starts = torch.arange(0, entries + 1, PADDING, device=values.device)
    return (end + starts).clamp(max=entries).to(dtype)


def to_dense(rows: Any, item_ids: Any, values: Any, shape: tuple[Any, int]) -> Any:
    """See `keras_multvae.backend`."""
    zeros = torch.zeros(shape[0] * shape[1], dtype=values.dtype, device=values.device)
    return zeros.index_add_(0, _flat(rows, item_ids, shape[1]), values).view(shape)


def add_item_weights(
    logits: Any,
    rows: Any,
    item_ids: Any,
    values: Any,
    lengths: Any,
    columns: Any,
    weights: Any,
) -> Any:
    """See `keras_multvae.backend`."""
    users, items = logits.shape
    sizes = torch.bincount(rows, minlength=users)
    clicks = _csr(sizes, item_ids, values, (users, items))
    found = clicks @ _csr(lengths, columns, weights, (items, items))
    return logits + found.to_dense()


def _csr(sizes: Any, columns: Any, values: Any, shape: tuple[int, int]) -> Any:
    """A sparse matrix of its rows' sizes, and their columns and values."""
    ends = torch.cumsum(sizes, 0)
    starts = torch.nn.functional.pad(ends, (1, 0)).to(columns.dtype)
    return torch.sparse_csr_tensor(
        starts, columns, values, size=shape, check_invariants=False
    )


class _Affine(torch.autograd.Function):
    """A dense layer whose kernel's gradient is a product of rows, as oneDNN wants."""

    @staticmethod
    def forward(ctx: Any, inputs: Any, kernel: Any, bias: Any) -> Any:
        # Rows of 16 bytes are what a GPU's fast products ask for.
        ctx.padding = _missing(kernel)
        wide = _padded(kernel, ctx.padding)
        ctx.save_for_backward(inputs, wide)
        if kernel.device.type != "cpu":
            units = torch.addmm(_padded(bias, ctx.padding), inputs, wide)
            return units[:, : kernel.shape[1]]
        # Not addmm, which fills its output with the bias before the product.
        return torch.mm(inputs, wide).add_(bias)

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        inputs, kernel = ctx.saved_tensors
        units = upstream.shape[1]
        # What is at rest (see `resting`) asks for no gradient.
        to_inputs, to_kernel, to_bias = ctx.needs_input_grad
        bias = upstream.sum(0) if to_bias else None
        upstream = _padded(upstream, ctx.padding)
        return (
            upstream @ kernel.T if to_inputs else None,
            (inputs.T.contiguous() @ upstream)[:, :units] if to_kernel else None,
            bias,
        )


def _missing(kernel: Any) -> int:
    """Columns by which a kernel of 16 bits on a GPU falls short of whole rows."""
    narrow = kernel.device.type == "cuda" and kernel.element_size() == 2
    return -kernel.shape[1] % 8 if narrow else 0


def _padded(array: Any, columns: int) -> Any:
    return torch.nn.functional.pad(array, (0, columns)) if columns else array


def affine(inputs: Any, kernel: Any, bias: Any) -> Any:
    """See `keras_multvae.backend`."""
    return _Affine.apply(inputs, kernel, bias)


def segment_sum(values: Any, rows: Any, users: Any) -> Any:
    """See `keras_multvae.backend`; Keras' own asks the device for a number."""
    zeros = torch.zeros(users, dtype=values.dtype, device=values.device)
    return zeros.index_add(0, rows, values)


def normal(shape: Any, seeds: Any) -> Any:
    """See `keras_multvae.backend`."""
    drawn = generator(seeds)
    return torch.normal(0.0, 1.0, shape, generator=drawn, device=drawn.device)


def dropout(values: Any, rate: float, seeds: Any) -> Any:
    """See `keras_multvae.backend`."""
    kept = torch.full(values.shape, 1 - rate, device=values.device)
    mask = torch.bernoulli(kept, generator=generator(seeds)).bool()
    return torch.where(mask, values / (1 - rate), torch.zeros_like(values))


def gather(matrix: Any, rows: Any, item_ids: Any) -> Any:
    """See `keras_multvae.backend`."""
    return matrix[rows, item_ids.long()]


class _MultinomialNLL(torch.autograd.Function):
    """Each user's likelihood; one softmax serves it and its gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Any, rows: Any, item_ids: Any, values: Any) -> Any:
        pi = torch.softmax(logits, 1)
        # The largest pi of a user is at least 1 / items: its logarithm is safe.
        log_norm = logits.amax(1) - pi.amax(1).log()
        users = torch.zeros_like(log_norm)
        total = users.index_add(0, rows, values)
        clicked = users.index_add(0, rows, values * logits[rows, item_ids])
        ctx.save_for_backward(pi, total, rows, item_ids, values)
        return total * log_norm - clicked

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        pi, total, rows, item_ids, values = ctx.saved_tensors
        # d NLL_u / d f_ui = N_u pi_i(z_u) - x_ui
        # In place of pi, which nobody else has; autograd refuses a second pass.
        gradient = pi.mul_((upstream * total)[:, None])
        flat = _flat(rows, item_ids, pi.shape[1])
        gradient.view(-1).index_add_(0, flat, -values * upstream[rows])
        return gradient, None, None, None


def multinomial_nll(logits: Any, rows: Any, item_ids: Any, values: Any) -> Any:
    """See `keras_multvae.backend`."""
    return _MultinomialNLL.apply(logits, rows, item_ids.long(), values)


def log_sum_exp(logits: Any) -> Any:
    """See `keras_multvae.backend`."""
    if logits.device.type != "cpu":
        return torch.logsumexp(logits, 1)
    parts = logits.split(max(CACHED // logits.shape[1], 1))
    # Without looking for the largest first: a pass less, and as exact where nothing
    # leaves float32's range.
    total = torch.cat([part.exp().sum(1) for part in parts])
    if bool(((total > FAINT) & (total < math.inf)).all()):
        return total.log()
    return torch.logsumexp(logits, 1)


def top_k(scores: Any, k: int) -> tuple[Any, Any]:
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


def _top_k_by_keys(scores: Any, k: int) -> tuple[Any, Any]:
    """By ints that order a row's scores, then its indices: nothing is read back."""
    bits = (scores.float() + 0.0).view(torch.int32)  # -0 is 0 now
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    places = torch.arange(scores.shape[1] - 1, -1, -1, device=scores.device)
    keys = (rising.long() << 32) | places
    best = torch.topk(keys, k, dim=1).values
    indices = scores.shape[1] - 1 - (best & 0xFFFFFFFF)
    return torch.gather(scores, 1, indices), indices


def _first(scores: Any, bounds: Any, k: int) -> Any:
    """The indices of what is above a row's bound, and of the first that equal it."""
    above = ~(scores <= bounds)  # NaN too, which counts as the largest
    equal = scores == bounds
    left = k - above.sum(1, keepdim=True)
    equal &= torch.cumsum(equal, 1, dtype=torch.int32) <= left
    return torch.nonzero(above | equal)[:, 1].view(len(scores), k)


def fuses_adam(gradient: Any, variable: Any) -> bool:
    """See `keras_multvae.backend`."""
    return variable.value.device.type in ("cpu", "cuda", "mps", "xpu")


def adam_update(
    variable: Any,
    momentum: Any,
    velocity: Any,
    gradient: Any,
    step: Any,
    **rates: Any,
) -> None:
    """See `keras_multvae.backend`."""
    gradient = gradient.to(variable.value.dtype)
    fused_adam(variable.value, momentum.value, velocity.value, gradient, step, **rates)


def fused_adam(
    weights: Any,
    momentum: Any,
    velocity: Any,
    gradient: Any,
    step: Any,
    learning_rate: Any,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """A step of Adam on tensors, in place.

    The step and the rate are tensors: reading them would make the host wait for a GPU.
    """
    step = step.to(torch.float64)
    # Keras adds epsilon to sqrt(v) before the correction of v's bias, PyTorch after it.
    # So the corrections go into the rate, and PyTorch is told of a step that needs none.
    corrections = (1 - beta_2**step).sqrt() / (1 - beta_1**step)
    with torch.no_grad():
        _adam(
            [weights],
            [gradient],
            [momentum],
            [velocity],
            [],
            [torch.full((), FAR, device=weights.device)],
            fused=True,
            amsgrad=False,
            beta1=beta_1,
            beta2=beta_2,
            lr=(learning_rate * corrections).to(torch.float32),
            weight_decay=0.0,
            eps=epsilon,
            maximize=False,
        )


@contextlib.contextmanager
def resting(condition: Any, variables: Sequence[Any]) -> Iterator[None]:
    """See `keras_multvae.backend`."""
    tensors = [compat.torch_parameter(each) for each in variables if bool(condition)]
    for tensor in tensors:
        tensor.requires_grad_(False)
    try:
        yield
    finally:
        for tensor in tensors:
            tensor.requires_grad_(True)


def run_if(condition: Any, function: Callable[[], Any]) -> None:
    """See `keras_multvae.backend`."""
    if bool(condition):
        function()


def assign_if(
    condition: Any, variables: Sequence[Any], values: Callable[[], Sequence[Any]]
) -> None:
    """See `keras_multvae.backend`."""
    if bool(condition):
        for variable, value in zip(variables, values(), strict=True):
            variable.assign(value)


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """See `keras_multvae.backend`.

    On a CPU PyTorch takes each tensor from malloc, and glibc gives one of megabytes
    back to the system as soon as it is freed: the next step then waits for its logits
    and gradients to be mapped and cleared anew, a third of its time.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    _keepers.append(libc)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        _keepers.pop()
        # A callback of `fit` may have ranked: then training goes on, and so does this.
        if not _keepers:
            for parameter, default in DEFAULTS.items():
                libc.mallopt(parameter, default)
            libc.malloc_trim(0)


def on_host() -> Any:
    """See `keras_multvae.backend`."""
    return keras.device("cpu")


def has_accelerator() -> bool:
    """See `keras_multvae.backend`."""
    return torch.cuda.is_available()


def upload(batch: Any) -> Any:
    """See `keras_multvae.backend`."""
    if not torch.cuda.is_available():
        return batch
    # On a stream of its own: on the step's, a copy would wait for the step.
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        there = keras.tree.map_structure(
            lambda array: torch.from_numpy(array).to("cuda"), batch
        )
    stream.synchronize()
    for tensor in keras.tree.flatten(there):
        tensor.record_stream(torch.cuda.default_stream())
    return there


def num_replicas() -> int:
    """See `keras_multvae.backend`: PyTorch's DDP averages gradients itself."""
    return 1


def inference(function: Any, variables: Any) -> Any:
    """See `keras_multvae.backend`."""

    def run(inputs: Any) -> Any:
        with torch.inference_mode():
            return tuple(tensor.cpu().numpy() for tensor in function(inputs))

    return run


def _flat(rows: Any, item_ids: Any, num_items: int) -> Any:
    return rows.long() * num_items + item_ids.long()
