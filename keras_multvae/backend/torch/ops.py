"""Products, the multinomial likelihood and Adam on PyTorch."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import torch

from keras_multvae import compat
from keras_multvae.backend.torch.adam import adam_update as adam_update
from keras_multvae.backend.torch.adam import fuses_adam as fuses_adam
from keras_multvae.backend.torch.graphs import generator
from keras_multvae.backend.torch.ranking import log_sum_exp as log_sum_exp
from keras_multvae.backend.torch.ranking import top_k as top_k
from keras_multvae.typing import Seeds, Tensor, Variable

# Entries that are nothing but padding, in a bag on a GPU.
PADDING = 512
# mallopt's parameters and defaults, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
DEFAULTS = {M_TRIM_THRESHOLD: 128 << 10, M_MMAP_MAX: 65536}
with warnings.catch_warnings():
    # The first sparse matrices of a process warn that they are in a beta state, and
    # not checked.
    warnings.simplefilter("ignore")
    torch.eye(1).to_sparse_csr()
    torch.sparse_csr_tensor([0, 1], [0], [1.0], size=(1, 1), check_invariants=False)
# One entry for each `retain_freed_memory` that is open.
_keepers: list[Any] = []


def segment_ids(entries_per_user: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    users = torch.arange(entries_per_user.shape[0], device=entries_per_user.device)
    return torch.repeat_interleave(users, entries_per_user, output_size=item_ids.shape[0])


def sparse_dense_matmul(
    entries_per_user: Tensor, rows: Tensor, item_ids: Tensor, values: Tensor, kernel: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""
    users = entries_per_user.shape[0]
    if kernel.device.type == "cpu":
        # Padding and what dropout took cost a row of memory traffic each. (Elsewhere
        # the host would have to wait for their number.)
        kept = values != 0
        item_ids, values = item_ids[kept], values[kept]
        entries_per_user = torch.bincount(rows[kept], minlength=users)
    offsets = (torch.cumsum(entries_per_user, 0) - entries_per_user).to(item_ids.dtype)
    if kernel.device.type != "cpu":
        offsets = torch.cat([offsets, _padding(values, offsets[-1]).to(offsets.dtype)])
    return torch.nn.functional.embedding_bag(
        item_ids,
        kernel,
        offsets,
        mode="sum",
        per_sample_weights=values.to(kernel.dtype),
    )[:users]


def _padding(values: Tensor, last: Tensor) -> Tensor:
    """Offsets that cut the zeros at the end into bags of their own.

    They are the last user's padding: one bag, of which a GPU takes an entry at a time.

    Args:
        values: (entries,).
        last: Where the last user's entries begin; what he has may be dropped.
    """
    entries = len(values)
    places = torch.arange(1, entries + 1, device=values.device)
    end = torch.where(values != 0, places, torch.zeros_like(places)).amax()
    starts = torch.arange(0, entries + 1, PADDING, device=values.device)
    return (torch.maximum(end, last) + starts).clamp(max=entries)


def to_dense(
    rows: Tensor, item_ids: Tensor, values: Tensor, shape: tuple[Any, int]
) -> Tensor:
    """See `keras_multvae.backend`."""
    zeros = torch.zeros(shape[0] * shape[1], dtype=values.dtype, device=values.device)
    return zeros.index_add_(0, _flat(rows, item_ids, shape[1]), values).view(shape)


def add_item_weights(
    logits: Tensor,
    rows: Tensor,
    item_ids: Tensor,
    values: Tensor,
    lengths: Tensor,
    columns: Tensor,
    weights: Tensor,
) -> Tensor:
    """See `keras_multvae.backend`."""
    users, items = logits.shape
    sizes = torch.bincount(rows, minlength=users)
    clicks = _csr(sizes, item_ids, values, (users, items))
    found = clicks @ _csr(lengths, columns, weights, (items, items))
    return logits + found.to_dense()


def _csr(
    sizes: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]
) -> Tensor:
    """A sparse matrix of its rows' sizes, and their columns and values."""
    ends = torch.cumsum(sizes, 0)
    starts = torch.nn.functional.pad(ends, (1, 0)).to(columns.dtype)
    return torch.sparse_csr_tensor(
        starts, columns, values, size=shape, check_invariants=False
    )


class _Affine(torch.autograd.Function):
    """A dense layer whose kernel's gradient is a product of rows, as oneDNN wants."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
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
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        inputs, kernel = ctx.saved_tensors
        units = upstream.shape[1]
        # What is at rest (see `without_gradients`) asks for no gradient.
        to_inputs, to_kernel, to_bias = ctx.needs_input_grad
        bias = upstream.sum(0) if to_bias else None
        upstream = _padded(upstream, ctx.padding)
        return (
            upstream @ kernel.T if to_inputs else None,
            (inputs.T.contiguous() @ upstream)[:, :units] if to_kernel else None,
            bias,
        )


def _missing(kernel: Tensor) -> int:
    """Columns by which a kernel of 16 bits on a GPU falls short of whole rows."""
    narrow = kernel.device.type == "cuda" and kernel.element_size() == 2
    return -kernel.shape[1] % 8 if narrow else 0


def _padded(array: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(array, (0, columns)) if columns else array


def affine(inputs: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return _Affine.apply(inputs, kernel, bias)


def segment_sum(values: Tensor, rows: Tensor, users: Tensor) -> Tensor:
    """See `keras_multvae.backend`; Keras' own asks the device for a number."""
    zeros = torch.zeros(users, dtype=values.dtype, device=values.device)
    return zeros.index_add(0, rows, values)


def normal(shape: object, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    drawn = generator(seeds)
    return torch.normal(0.0, 1.0, shape, generator=drawn, device=drawn.device)


def dropout(values: Tensor, rate: float, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    kept = torch.full(values.shape, 1 - rate, device=values.device)
    mask = torch.bernoulli(kept, generator=generator(seeds)).bool()
    return torch.where(mask, values / (1 - rate), torch.zeros_like(values))


def gather_nd(matrix: Tensor, rows: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return matrix[rows, item_ids.long()]


class _MultinomialNLL(torch.autograd.Function):
    """Each user's likelihood; one softmax serves it and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, rows: Tensor, item_ids: Tensor, values: Tensor
    ) -> Tensor:
        pi = torch.softmax(logits, 1)
        # The largest pi of a user is at least 1 / items: its logarithm is safe.
        log_norm = logits.amax(1) - pi.amax(1).log()
        users = torch.zeros_like(log_norm)
        total = users.index_add(0, rows, values)
        clicked = users.index_add(0, rows, values * logits[rows, item_ids])
        ctx.save_for_backward(pi, total, rows, item_ids, values)
        return total * log_norm - clicked

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        pi, total, rows, item_ids, values = ctx.saved_tensors
        # d NLL_u / d f_ui = N_u pi_i(z_u) - x_ui
        # In place of pi, which nobody else has; autograd refuses a second pass.
        gradient = pi.mul_((upstream * total)[:, None])
        flat = _flat(rows, item_ids, pi.shape[1])
        gradient.view(-1).index_add_(0, flat, -values * upstream[rows])
        return gradient, None, None, None


def multinomial_nll(
    logits: Tensor, rows: Tensor, item_ids: Tensor, values: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _MultinomialNLL.apply(logits, rows, item_ids.long(), values)


@contextlib.contextmanager
def without_gradients(condition: Tensor, variables: Sequence[Variable]) -> Iterator[None]:
    """See `keras_multvae.backend`."""
    tensors = [compat.torch_parameter(each) for each in variables if bool(condition)]
    for tensor in tensors:
        tensor.requires_grad_(False)
    try:
        yield
    finally:
        for tensor in tensors:
            tensor.requires_grad_(True)


def run_if(condition: Tensor, function: Callable[[], Any]) -> None:
    """See `keras_multvae.backend`."""
    if bool(condition):
        function()


def assign_if(
    condition: Tensor,
    variables: Sequence[Variable],
    values: Callable[[], Sequence[Any]],
) -> None:
    """See `keras_multvae.backend`."""
    if bool(condition):
        for variable, value in zip(variables, values(), strict=True):
            variable.assign(value)


@contextlib.contextmanager
def retain_freed_memory() -> Iterator[None]:
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


def upload(batch: object) -> Any:
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


def compile_inference(function: Callable[..., Any], variables: Sequence[Variable]) -> Any:
    """See `keras_multvae.backend`."""

    def run(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return tuple(tensor.cpu().numpy() for tensor in function(inputs))

    return run


def _flat(rows: Tensor, item_ids: Tensor, num_items: int) -> Tensor:
    return rows.long() * num_items + item_ids.long()
