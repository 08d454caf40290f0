"""Sparse products and the multinomial likelihood on JAX."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_multvae.backend.jax import mesh
from keras_multvae.typing import Seeds, Tensor, Variable

# Parts of a batch's entries that are gathered one after the other.
PARTS = 16
# Entries of an item's weights that are added at a time, for all clicks of a batch.
WEIGHTS = 32


def segment_ids(entries_per_user: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    users = jnp.arange(entries_per_user.shape[0], dtype="int32")
    return jnp.repeat(users, entries_per_user, total_repeat_length=item_ids.shape[0])


def sparse_dense_matmul(
    entries_per_user: Tensor, rows: Tensor, item_ids: Tensor, values: Tensor, kernel: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _sparse_dense_matmul(kernel, rows, item_ids, values, entries_per_user.shape[0])


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _sparse_dense_matmul(
    kernel: Tensor, rows: Tensor, item_ids: Tensor, values: Tensor, users: int
) -> Tensor:
    return mesh.sums_of_users(_add_rows, kernel, item_ids, values, rows, users)


def _sparse_dense_matmul_forward(
    kernel: Tensor, rows: Tensor, item_ids: Tensor, values: Tensor, users: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    product = _sparse_dense_matmul(kernel, rows, item_ids, values, users)
    # An array without columns tells the backward pass how many items there are.
    return product, (kernel[:, :0], rows, item_ids, values)


def _sparse_dense_matmul_backward(
    users: int, saved: tuple[Any, ...], upstream: Tensor
) -> tuple[Tensor, ...]:
    shape, rows, item_ids, values = saved
    gradient = mesh.sums_of_items(
        _add_rows, upstream, rows, values, item_ids, len(shape)
    )
    return gradient, None, None, None


_sparse_dense_matmul.defvjp(_sparse_dense_matmul_forward, _sparse_dense_matmul_backward)


def _add_rows(
    table: Tensor, source: Tensor, weights: Tensor, target: Tensor, size: int
) -> Tensor:
    """Adds `weights * table[source]` up in the rows `target` of (size, units).

    On a CPU a part of the entries at a time: XLA would write all the weighted rows to
    memory that it has to ask the system for.
    """
    parts = PARTS if jax.default_backend() == "cpu" else 1
    parts = parts if source.shape[0] % parts == 0 else 1

    def add(total: Tensor, part: tuple[Tensor, Tensor, Tensor]) -> tuple[Any, None]:
        source, weights, target = part
        # "clip": the default reads every row once more, to put NaN for a bad id.
        rows = jnp.take(table, source, axis=0, mode="clip")
        rows = rows * weights[:, None].astype(table.dtype)
        return total.at[target].add(rows), None

    zeros = jnp.zeros((size, *table.shape[1:]), table.dtype)
    split = [array.reshape(parts, -1) for array in (source, weights, target)]
    return jax.lax.scan(add, zeros, tuple(split))[0]


def to_dense(
    rows: Tensor, item_ids: Tensor, values: Tensor, shape: tuple[Any, int]
) -> Tensor:
    """See `keras_multvae.backend`."""
    return jnp.zeros(shape, values.dtype).at[rows, item_ids].add(values)


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
    starts = (jnp.cumsum(lengths) - lengths)[item_ids]
    # Padding has no weights.
    lengths = jnp.where(values == 0, 0, lengths[item_ids])

    def add(part: Tensor, logits: Tensor) -> Tensor:
        offsets = part * WEIGHTS + jnp.arange(WEIGHTS, dtype=starts.dtype)
        known = offsets < lengths[:, None]
        places = jnp.where(known, starts[:, None] + offsets, 0)
        # Past the last item, where XLA drops it.
        targets = jnp.where(known, columns[places], logits.shape[1])
        added = weights[places] * values[:, None]
        return logits.at[rows[:, None], targets].add(added, mode="drop")

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


def _affine_backward(saved: tuple[Any, ...], upstream: Tensor) -> tuple[Tensor, ...]:
    inputs, kernel = saved
    # The barrier makes XLA turn the narrow matrix: of its own it works on both with
    # the users in rows, which takes half as long again.
    turned = jax.lax.optimization_barrier(inputs.T)
    return upstream @ kernel.T, turned @ upstream, upstream.sum(axis=0)


affine.defvjp(_affine_forward, _affine_backward)


def segment_sum(values: Tensor, rows: Tensor, users: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return jax.ops.segment_sum(values, rows, users, indices_are_sorted=True)


def normal(shape: object, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    return keras.random.normal(shape, dtype="float32", seed=seeds)


def dropout(values: Tensor, rate: float, seeds: Seeds) -> Tensor:
    """See `keras_multvae.backend`."""
    return keras.random.dropout(values, rate, seed=seeds)


def gather_nd(matrix: Tensor, rows: Tensor, item_ids: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return matrix[rows, item_ids]


@jax.custom_vjp
def multinomial_nll(
    logits: Tensor, rows: Tensor, item_ids: Tensor, values: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _multinomial_forward(logits, rows, item_ids, values)[0]


def _multinomial_forward(
    logits: Tensor, rows: Tensor, item_ids: Tensor, values: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    def per_user(entries: Tensor) -> Tensor:
        return jax.ops.segment_sum(
            entries, rows, num_segments=logits.shape[0], indices_are_sorted=True
        )

    log_norm = jax.nn.logsumexp(logits, axis=1)
    total = per_user(values)
    nll = total * log_norm - per_user(values * logits[rows, item_ids])
    return nll, (logits, log_norm, total, rows, item_ids, values)


def _multinomial_backward(
    saved: tuple[Any, ...], upstream: Tensor
) -> tuple[Tensor, ...]:
    logits, log_norm, total, rows, item_ids, values = saved
    # d NLL_u / d f_ui = N_u pi_i(z_u) - x_ui
    expected = jnp.exp(logits - log_norm[:, None]) * (upstream * total)[:, None]
    gradient = expected.at[rows, item_ids].add(-values * upstream[rows])
    return gradient, None, None, None


multinomial_nll.defvjp(_multinomial_forward, _multinomial_backward)


def log_sum_exp(logits: Tensor) -> Tensor:
    """See `keras_multvae.backend`."""
    return jax.nn.logsumexp(logits, axis=1)


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend`."""
    # XLA puts 0 before -0.
    return jax.lax.top_k(jnp.where(scores == 0, 0.0, scores), k)


def fuses_adam(gradient: Tensor, variable: Variable) -> bool:
    """See `keras_multvae.backend`: XLA fuses Keras' own formula."""
    return False


def without_gradients(condition: Tensor, variables: Sequence[Variable]) -> Any:
    """See `keras_multvae.backend`; XLA itself moves gradients to the branch of use."""
    return contextlib.nullcontext()


def assign_if(
    condition: Tensor,
    variables: Sequence[Variable],
    values: Callable[[], Sequence[Any]],
) -> None:
    """See `keras_multvae.backend`."""
    # Read out here: inside a branch, a value would be that of its trace.
    before = [variable.value for variable in variables]
    after = jax.lax.cond(condition, lambda: list(values()), lambda: before)
    for variable, value in zip(variables, after, strict=True):
        variable.assign(value)


retain_freed_memory = contextlib.nullcontext
on_host = contextlib.nullcontext


def has_accelerator() -> bool:
    """See `keras_multvae.backend`."""
    return jax.default_backend() != "cpu"


def upload(batch: object) -> Any:
    """See `keras_multvae.backend`: Keras' own loop is ahead of the step."""
    return batch


def num_replicas() -> int:
    """See `keras_multvae.backend`: under jit a program sees the global batch."""
    return 1


def compile_inference(function: Callable[..., Any], variables: Sequence[Variable]) -> Any:
    """See `keras_multvae.backend`."""

    @jax.jit
    def compiled(values: Tensor, inputs: Tensor) -> Tensor:
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return function(inputs)

    def run(inputs: Tensor) -> Tensor:
        found = compiled([variable.value for variable in variables], inputs)
        return jax.tree.map(np.asarray, found)

    return run
