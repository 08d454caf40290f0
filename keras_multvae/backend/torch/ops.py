"""Products, the multinomial likelihood and Adam on PyTorch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import keras
import torch

from keras_multvae import bfloat16, compat
from keras_multvae.backend.contract import MIN_EXACT, Structure
from keras_multvae.backend.torch.adam import adam_update as adam_update
from keras_multvae.backend.torch.adam import fuses_adam as fuses_adam
from keras_multvae.backend.torch.graphs import generator
from keras_multvae.backend.torch.products import product
from keras_multvae.backend.torch.ranking import log_sum_exp as log_sum_exp
from keras_multvae.backend.torch.ranking import top_k as top_k
from keras_multvae.backend.torch.sparse import (
    sparse_dense_matmul as sparse_dense_matmul,
)
from keras_multvae.heap import retain_freed_memory as retain_freed_memory
from keras_multvae.typing import Seeds, Tensor, Variable

if TYPE_CHECKING:
    import numpy as np
    from torch.autograd.function import FunctionCtx

REUSED_BYTES = 32 << 20
ROUNDS_EACH_RESULT = True
with warnings.catch_warnings():
    # PyTorch warns at the first sparse matrices of a process: here, and not in `fit`.
    warnings.simplefilter("ignore")
    torch.eye(1).to_sparse_csr()
    torch.sparse_csr_tensor([0, 1], [0], [1.0], size=(1, 1), check_invariants=False)


def segment_ids(entries_per_user: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    users = torch.arange(entries_per_user.shape[0], device=entries_per_user.device)
    return torch.repeat_interleave(
        users, entries_per_user, output_size=item_ids.shape[0]
    )


def to_dense(
    segment_ids: Tensor, item_ids: Tensor, values: Tensor, shape: tuple[Tensor, int]
) -> Tensor:
    """See `keras_multvae.backend`."""
    zeros = torch.zeros(shape[0] * shape[1], dtype=values.dtype, device=values.device)
    return zeros.index_add_(0, _flat(segment_ids, item_ids, shape[1]), values).view(
        shape
    )


def add_item_weights(
    logits: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
    values: Tensor,
    lengths: Tensor,
    columns: Tensor,
    weights: Tensor,
) -> Tensor:
    """See `keras_multvae.backend`."""
    users, items = logits.shape
    sizes = torch.bincount(segment_ids, minlength=users)
    clicks = _csr(sizes, item_ids, values, (users, items))
    matrix = _csr(lengths, columns, weights, (items, items))
    if logits.device.type == "cpu":
        # MKL adds up each row where it is dense, without a sparse product between.
        return torch.addmm(logits, clicks, matrix)
    return logits + (clicks @ matrix).to_dense()


def _csr(
    sizes: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]
) -> Tensor:
    """The CSR matrix of its row lengths, columns and values."""
    ends = torch.cumsum(sizes, 0)
    starts = torch.nn.functional.pad(ends, (1, 0)).to(columns.dtype)
    return torch.sparse_csr_tensor(
        starts, columns, values, size=shape, check_invariants=False
    )


class _Affine(torch.autograd.Function):
    """A dense layer whose kernel's gradient is a product of rows, as oneDNN wants."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, inputs: Tensor, kernel: Tensor, bias: Tensor
    ) -> Tensor:
        # Fast products on a GPU need rows of a multiple of 16 bytes.
        ctx.padding = _missing(kernel)
        wide = _padded(kernel, ctx.padding)
        ctx.save_for_backward(inputs, wide)
        units = product(inputs, wide, _padded(bias, ctx.padding))
        return units[:, : kernel.shape[1]]

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> Tensor:
        inputs, kernel = ctx.saved_tensors
        units = upstream.shape[1]
        # Under `without_gradients`, some of these need no gradient.
        to_inputs, to_kernel, to_bias = ctx.needs_input_grad
        bias = upstream.sum(0) if to_bias else None
        upstream = _padded(upstream, ctx.padding)
        return (
            product(upstream, kernel.T) if to_inputs else None,
            product(inputs.T.contiguous(), upstream)[:, :units] if to_kernel else None,
            bias,
        )


def _missing(kernel: Tensor) -> int:
    """The columns that a 16-bit kernel on a GPU lacks to a multiple of 16 bytes."""
    narrow = kernel.device.type == "cuda" and kernel.element_size() == 2
    return -kernel.shape[1] % 8 if narrow else 0


def _padded(array: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(array, (0, columns)) if columns else array


def affine(inputs: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return _Affine.apply(inputs, kernel, bias)


def segment_sum(values: Tensor, segment_ids: Tensor, users: Tensor) -> Tensor:
    """See `keras_multvae.backend`; Keras' own asks the device for a number."""
    zeros = torch.zeros(users, dtype=values.dtype, device=values.device)
    return zeros.index_add(0, segment_ids, values)


def normal(shape: object, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    drawn = generator(seeds)
    return torch.normal(0.0, 1.0, shape, generator=drawn, device=drawn.device)


def dropout(values: Tensor, rate: float, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    kept = torch.full(values.shape, 1 - rate, device=values.device)
    mask = torch.bernoulli(kept, generator=generator(seeds)).bool()
    return torch.where(mask, values / (1 - rate), torch.zeros_like(values))


def gather_nd(matrix: Tensor, segment_ids: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return matrix[segment_ids, item_ids.long()]


class _MultinomialNLL(torch.autograd.Function):
    """Each user's negative log-likelihood; it shares its softmax with the gradient."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: Tensor,
        segment_ids: Tensor,
        item_ids: Tensor,
        values: Tensor,
    ) -> Tensor:
        pi = torch.softmax(logits, 1)
        log_pi = _log_of_clicked(logits, pi, segment_ids, item_ids)
        users = torch.zeros(len(logits), dtype=pi.dtype, device=pi.device)
        total = users.index_add(0, segment_ids, values)
        ctx.save_for_backward(pi, total, segment_ids, item_ids, values)
        return -users.index_add(0, segment_ids, values * log_pi)

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> Tensor:
        pi, total, segment_ids, item_ids, values = ctx.saved_tensors
        # d NLL_u / d f_ui = N_u pi_i(z_u) - x_ui
        # In place of pi, which nothing else uses; autograd refuses a second pass.
        gradient = pi.mul_((upstream * total)[:, None])
        flat = _flat(segment_ids, item_ids, pi.shape[1])
        gradient.view(-1).index_add_(0, flat, -values * upstream[segment_ids])
        return gradient, None, None, None


def _log_of_clicked(
    logits: Tensor, pi: Tensor, segment_ids: Tensor, item_ids: Tensor
) -> Tensor:
    """Log pi of each entry: (entries,)."""
    if logits.device.type == "cpu":  # a GPU would have to wait for the answer
        clicked = pi[segment_ids, item_ids]
        if bool((clicked > MIN_EXACT).all()):
            return clicked.log()
    # The largest pi of a user is at least 1 / items: its logarithm is safe.
    log_norm = logits.amax(1) - pi.amax(1).log()
    return logits[segment_ids, item_ids] - log_norm[segment_ids]


def multinomial_nll(
    logits: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _MultinomialNLL.apply(logits, segment_ids, item_ids.long(), values)


@contextlib.contextmanager
def without_gradients(
    condition: Tensor, variables: Sequence[Variable]
) -> Iterator[None]:
    """See `keras_multvae.backend`."""
    tensors = [compat.torch_parameter(each) for each in variables if bool(condition)]
    for tensor in tensors:
        tensor.requires_grad_(False)
    try:
        yield
    finally:
        for tensor in tensors:
            tensor.requires_grad_(True)


def run_if(condition: Tensor, function: Callable[[], object]) -> None:
    """See `keras_multvae.backend`."""
    if bool(condition):
        function()


def assign_if(
    condition: Tensor,
    variables: Sequence[Variable],
    values: Callable[[], Sequence[Tensor]],
) -> None:
    """See `keras_multvae.backend`."""
    if bool(condition):
        for variable, value in zip(variables, values(), strict=True):
            variable.assign(value)


without_autotuning = contextlib.nullcontext


def on_host() -> AbstractContextManager[None]:
    """See `keras_multvae.backend`."""
    return keras.device("cpu")


def has_accelerator() -> bool:
    """See `keras_multvae.backend`."""
    return torch.cuda.is_available()


def upload(batch: Structure) -> Structure:
    """See `keras_multvae.backend`."""
    if not torch.cuda.is_available():
        return batch
    # On a separate stream, as a copy on the step's would wait for the step.
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


def compile_inference(
    function: Callable[[Tensor], tuple[Tensor, ...]], variables: Sequence[Variable]
) -> Callable[[Tensor], tuple[np.ndarray, ...]]:
    """See `keras_multvae.backend`."""

    def run(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return tuple(map(_to_numpy, function(inputs)))

    return run


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """On the host, without a copy of what is there."""
    tensor = tensor.cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(bfloat16.DTYPE)
    return tensor.numpy()


def _flat(segment_ids: Tensor, item_ids: Tensor, num_items: int) -> Tensor:
    """The place of each entry in a flattened (users, items) matrix."""
    return segment_ids.long() * num_items + item_ids.long()
