"""What the machine can do: the step's three large products, and a pass over memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

HIDDEN, LATENT = 600, 200
# Adam reads weight, gradient and two moments and writes all but the gradient.
BYTES_A_WEIGHT = 28


def weights(items: int) -> int:
    """Weights of the network I-600-200-600-I."""
    tables = 2 * items * HIDDEN + HIDDEN * 2 * LATENT + LATENT * HIDDEN
    return tables + 2 * HIDDEN + 2 * LATENT + items


class Products:
    """Products of a step, (batch, 600, items), by one library in one precision.

    Logits, and the gradients with respect to the hidden layer and to the kernel.
    """

    def __init__(
        self,
        library: str,
        items: int,
        batch_size: int,
        steps: int,
        dtype: str = "float32",
    ) -> None:
        rng = np.random.default_rng(0)
        hidden, kernel, gradient = (
            rng.standard_normal(shape, "float32")
            for shape in ((batch_size, HIDDEN), (HIDDEN, items), (batch_size, items))
        )
        self.step = LIBRARIES[library](dtype, hidden, kernel, gradient)
        self.steps = steps

    def seconds(self) -> float:
        """Seconds a step, over some steps."""
        start = time.perf_counter()
        for _ in range(self.steps):
            self.step()
        return (time.perf_counter() - start) / self.steps


def _numpy(dtype: str, hidden: Any, kernel: Any, gradient: Any) -> Callable[[], Any]:
    logits, to_hidden, to_kernel = map(np.empty_like, (gradient, hidden, kernel))

    def step() -> tuple[Any, ...]:
        np.matmul(hidden, kernel, out=logits)
        np.matmul(gradient, kernel.T, out=to_hidden)
        np.matmul(hidden.T, gradient, out=to_kernel)
        return logits, to_hidden, to_kernel

    return step


def _torch(dtype: str, *arrays: Any) -> Callable[[], Any]:
    import torch

    hidden, kernel, gradient = (
        torch.from_numpy(array).to(getattr(torch, dtype)) for array in arrays
    )
    logits, to_hidden, to_kernel = map(torch.empty_like, (gradient, hidden, kernel))

    def step() -> tuple[Any, ...]:
        torch.mm(hidden, kernel, out=logits)
        torch.mm(gradient, kernel.T, out=to_hidden)
        torch.mm(hidden.T, gradient, out=to_kernel)
        return logits, to_hidden, to_kernel

    return step


def _onednn(dtype: str, *arrays: Any) -> Callable[[], Any]:
    """What PyTorch multiplies 16 bits by; for float32 it has no public function."""
    import torch

    from keras_multvae import compat, heap

    hidden, kernel, gradient = map(torch.from_numpy, arrays)
    linear = compat.onednn_linear()
    # Its results are new each time. They get the memory of the last ones, as long as
    # this context lives.
    retained = contextlib.ExitStack()
    retained.enter_context(heap.retain_freed_memory())

    def step(retained: object = retained) -> tuple[Any, ...]:
        return (
            linear(hidden, kernel.T, None, "none", [], ""),
            linear(gradient, kernel, None, "none", [], ""),
            linear(hidden.T.contiguous(), gradient.T, None, "none", [], ""),
        )

    return step


def _tensorflow(dtype: str, *arrays: Any) -> Callable[[], Any]:
    import tensorflow as tf

    inputs = [tf.cast(array, dtype) for array in arrays]

    @tf.function
    def products(hidden: Any, kernel: Any, gradient: Any) -> tuple[Any, ...]:
        return (
            hidden @ kernel,
            tf.matmul(gradient, kernel, transpose_b=True),
            tf.matmul(hidden, gradient, transpose_a=True),
        )

    return lambda: products(*inputs)


def _jax(dtype: str, *arrays: Any) -> Callable[[], Any]:
    import jax

    inputs = [jax.numpy.asarray(array, dtype) for array in arrays]

    @jax.jit
    def products(hidden: Any, kernel: Any, gradient: Any) -> tuple[Any, ...]:
        return hidden @ kernel, gradient @ kernel.T, hidden.T @ gradient

    return lambda: jax.block_until_ready(products(*inputs))


# By precision; NumPy has no bfloat16.
PRECISIONS = {
    "float32": ("NumPy", "PyTorch", "oneDNN", "TensorFlow", "JAX"),
    "bfloat16": ("PyTorch", "TensorFlow", "JAX"),
}
LIBRARIES = {
    "NumPy": _numpy,
    "PyTorch": _torch,
    "oneDNN": _onednn,
    "TensorFlow": _tensorflow,
    "JAX": _jax,
}


class Memory:
    """A triad a = b + s * c over arrays as long as the weights, by PyTorch."""

    def __init__(self, items: int, passes: int = 10) -> None:
        import torch

        self.a, self.b, self.c = (torch.ones(weights(items)) for _ in range(3))
        self.passes = passes

    def seconds(self) -> float:
        """Seconds of a pass that moves as much as the optimiser's of a step."""
        import torch

        start = time.perf_counter()
        for _ in range(self.passes):
            torch.add(self.b, self.c, alpha=3.0, out=self.a)
        triad = (time.perf_counter() - start) / self.passes
        # A triad moves three floats.
        return triad * BYTES_A_WEIGHT / 12
