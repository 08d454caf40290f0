"""Sparse products and the multinomial likelihood on JAX."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_multvae.backend.contract import Structure
from keras_multvae.backend.jax import mesh
from keras_multvae.backend.wide import widen
from keras_multvae.heap import retain_freed_memory as retain_freed_memory
from keras_multvae.typing import Seeds, Tensor, Variable

REUSED_BYTES = 32 << 20
ROUNDS_EACH_RESULT = False
# Into how many parts the entries of a batch are split on a CPU.
PARTS = 16
# How many of an item's weights are added at a time, for all clicks of a batch.
WEIGHTS = 32


def segment_ids(entries_per_user: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    users = jnp.arange(entries_per_user.shape[0], dtype="int32")
    return jnp.repeat(users, entries_per_user, total_repeat_length=item_ids.shape[0])


def sparse_dense_matmul(
    entries_per_user: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
    values: Tensor,
    kernel: Tensor,
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _sparse_dense_matmul(
        kernel, segment_ids, item_ids, values, entries_per_user.shape[0]
    )


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _sparse_dense_matmul(
    kernel: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor, users: int
) -> Tensor:
    return mesh.sums_of_users(_add_rows, kernel, item_ids, values, segment_ids, users)


def _sparse_dense_matmul_forward(
    kernel: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor, users: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    product = _sparse_dense_matmul(kernel, segment_ids, item_ids, values, users)
    # An array without columns carries the number of items to the backward pass.
    return product, (kernel[:, :0], segment_ids, item_ids, values)


def _sparse_dense_matmul_backward(
    users: int, saved: tuple[Tensor, ...], upstream: Tensor
) -> tuple[Tensor, ...]:
    shape, segment_ids, item_ids, values = saved
    gradient = mesh.sums_of_items(
        _add_rows, upstream, segment_ids, values, item_ids, len(shape)
    )
    return gradient, None, None, None


_sparse_dense_matmul.defvjp(_sparse_dense_matmul_forward, _sparse_dense_matmul_backward)


def _add_rows(
    table: Tensor, source: Tensor, weights: Tensor, target: Tensor, size: int
) -> Tensor:
    """Adds `weights * table[source]` to the rows `target` of zeros (size, units).

    On a CPU it takes a part of the entries at a time: XLA would write all weighted rows
    to newly allocated memory.
    """
    parts = PARTS if jax.default_backend() == "cpu" else 1
    parts = parts if source.shape[0] % parts == 0 else 1

    def add(total: Tensor, part: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, None]:
        """Adds one part of the entries to the running total."""
        source, weights, target = part
        # "clip", as the default reads every row twice to return NaN for a bad id.
        rows = jnp.take(table, source, axis=0, mode="clip")
        rows = rows * weights[:, None].astype(table.dtype)
        return total.at[target].add(rows), None

    zeros = jnp.zeros((size, *table.shape[1:]), table.dtype)
    split = [array.reshape(parts, -1) for array in (source, weights, target)]
    return jax.lax.scan(add, zeros, tuple(split))[0]


def to_dense(
    segment_ids: Tensor, item_ids: Tensor, values: Tensor, shape: tuple[Tensor, int]
) -> Tensor:
    """See `keras_multvae.backend`."""
    return jnp.zeros(shape, values.dtype).at[segment_ids, item_ids].add(values)


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
    starts = (jnp.cumsum(lengths) - lengths)[item_ids]
    # Padding has no weights.
    lengths = jnp.where(values == 0, 0, lengths[item_ids])

    def add(part: Tensor, logits: Tensor) -> Tensor:
        offsets = part * WEIGHTS + jnp.arange(WEIGHTS, dtype=starts.dtype)
        known = offsets < lengths[:, None]
        places = jnp.where(known, starts[:, None] + offsets, 0)
        # Past the last item, so that XLA drops it.
        targets = jnp.where(known, columns[places], logits.shape[1])
        added = weights[places] * values[:, None]
        return logits.at[segment_ids[:, None], targets].add(added, mode="drop")

    parts = (jnp.max(lengths, initial=0) + WEIGHTS - 1) // WEIGHTS
    return jax.lax.fori_loop(0, parts, add, logits)


@jax.custom_vjp
def affine(inputs: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return inputs @ kernel + bias


def _affine_forward(
    inputs: Tensor, kernel: Tensor, bias: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    return affine(inputs, kernel, bias), (inputs, kernel)


def _affine_backward(saved: tuple[Tensor, ...], upstream: Tensor) -> tuple[Tensor, ...]:
    inputs, kernel = saved
    # The barrier makes XLA transpose the narrow matrix. Without it XLA keeps users in
    # rows, which takes half as long again.
    turned = jax.lax.optimization_barrier(inputs.T)
    return upstream @ kernel.T, turned @ upstream, upstream.sum(axis=0)


affine.defvjp(_affine_forward, _affine_backward)


def segment_sum(values: Tensor, segment_ids: Tensor, users: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return jax.ops.segment_sum(values, segment_ids, users, indices_are_sorted=True)


def normal(shape: object, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    return keras.random.normal(shape, dtype="float32", seed=seeds)


def dropout(values: Tensor, rate: float, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    return keras.random.dropout(values, rate, seed=seeds)


def gather_nd(matrix: Tensor, segment_ids: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return matrix[segment_ids, item_ids]


@jax.custom_vjp
def multinomial_nll(
    logits: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _multinomial_forward(logits, segment_ids, item_ids, values)[0]


def _multinomial_forward(
    logits: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    def per_user(entries: Tensor) -> Tensor:
        return jax.ops.segment_sum(
            entries, segment_ids, num_segments=logits.shape[0], indices_are_sorted=True
        )

    log_norm = jax.nn.logsumexp(logits, axis=1)
    total = per_user(values)
    nll = total * log_norm - per_user(values * logits[segment_ids, item_ids])
    return nll, (logits, log_norm, total, segment_ids, item_ids, values)


def _multinomial_backward(
    saved: tuple[Tensor, ...], upstream: Tensor
) -> tuple[Tensor, ...]:
    logits, log_norm, total, segment_ids, item_ids, values = saved
    # d NLL_u / d f_ui = N_u pi_i(z_u) - x_ui
    expected = jnp.exp(logits - log_norm[:, None]) * (upstream * total)[:, None]
    gradient = expected.at[segment_ids, item_ids].add(-values * upstream[segment_ids])
    return gradient, None, None, None


multinomial_nll.defvjp(_multinomial_forward, _multinomial_backward)


def log_sum_exp(logits: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return jax.nn.logsumexp(widen(logits), axis=1)


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend`."""
    # XLA sorts 0 before -0.
    return jax.lax.top_k(jnp.where(scores == 0, 0.0, scores), k)


def fuses_adam(gradient: Tensor, variable: Variable) -> bool:
    """See `keras_multvae.backend`: XLA fuses Keras' own formula."""
    return False


def without_gradients(
    condition: Tensor, variables: Sequence[Variable]
) -> AbstractContextManager[None]:
    """See `keras_multvae.backend`; XLA itself moves gradients to the branch of use."""
    return contextlib.nullcontext()


def assign_if(
    condition: Tensor,
    variables: Sequence[Variable],
    values: Callable[[], Sequence[Tensor]],
) -> None:
    """See `keras_multvae.backend`."""
    # Read before the branches, as a value read inside one belongs to its trace.
    before = [variable.value for variable in variables]
    after = jax.lax.cond(condition, lambda: list(values()), lambda: before)
    for variable, value in zip(variables, after, strict=True):
        variable.assign(value)


without_autotuning = contextlib.nullcontext
on_host = contextlib.nullcontext


def has_accelerator() -> bool:
    """See `keras_multvae.backend`."""
    return jax.default_backend() != "cpu"


def upload(batch: Structure) -> Structure:
    """See `keras_multvae.backend`: Keras' own loop is ahead of the step."""
    return batch


def num_replicas() -> int:
    """See `keras_multvae.backend`: under jit a program sees the global batch."""
    return 1


def compile_inference(
    function: Callable[[Tensor], tuple[Tensor, ...]], variables: Sequence[Variable]
) -> Callable[[Tensor], tuple[np.ndarray, ...]]:
    """See `keras_multvae.backend`."""

    @jax.jit
    def compiled(values: Tensor, inputs: Tensor) -> Tensor:
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return function(inputs)

    def run(inputs: Tensor) -> Tensor:
        found = compiled([variable.value for variable in variables], inputs)
        return jax.tree.map(np.asarray, found)

    return run
