"""Sparse products on JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np


def bag_matmul(
    bag_sizes: Any, rows: Any, item_ids: Any, values: Any, kernel: Any, xla: bool
) -> Any:
    """See `keras_multvae.backend`."""
    weighted = jnp.take(kernel, item_ids, axis=0) * values[:, None].astype(kernel.dtype)
    return jax.ops.segment_sum(
        weighted, rows, num_segments=bag_sizes.shape[0], indices_are_sorted=True
    )


def to_dense(rows: Any, item_ids: Any, values: Any, shape: tuple[Any, int]) -> Any:
    """See `keras_multvae.backend`."""
    return jnp.zeros(shape, values.dtype).at[rows, item_ids].add(values)


def gather(matrix: Any, rows: Any, item_ids: Any) -> Any:
    """See `keras_multvae.backend`."""
    return matrix[rows, item_ids]


def num_replicas() -> int:
    """See `keras_multvae.backend`: under jit a program sees the global batch."""
    return 1


def inference(function: Any, variables: Any) -> Any:
    """See `keras_multvae.backend`."""

    @jax.jit
    def compiled(values: Any, inputs: Any) -> Any:
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return function(inputs)

    def run(inputs: Any) -> Any:
        found = compiled([variable.value for variable in variables], inputs)
        return jax.tree.map(np.asarray, found)

    return run
