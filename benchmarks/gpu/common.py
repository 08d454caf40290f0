"""What the stages share: their arguments, data, clock and device."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from scipy import sparse

from benchmarks.speed import data

BACKEND = keras.backend.backend()


def arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/keras-multvae-gpu"))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--ml10m", type=Path)
    return parser.parse_args()


def say(**found: Any) -> None:
    """A finding, as a line of JSON."""
    print(json.dumps(found), flush=True)


def clicks(options: argparse.Namespace) -> sparse.csr_matrix:
    """ML-20M's shape: five batches of the largest size, or few on a CPU."""
    users = 2_000 if options.small else 5 * 24_576
    path = data.cached(
        options.cache / f"synthetic-{users}.npz",
        lambda path: sparse.save_npz(path, data.synthetic(users), compressed=False),
    )
    return sparse.load_npz(path)


def batch_sizes(options: argparse.Namespace) -> list[int]:
    return [100, 500] if options.small else [24_576, 4_096, 500]


def set_precision(name: str) -> str:
    """Makes products float32 or TF32; the Keras policy that goes with the name."""
    if BACKEND == "torch":
        import torch

        torch.set_float32_matmul_precision("highest" if name == "float32" else "high")
    elif BACKEND == "jax":
        import jax

        precision = "float32" if name == "float32" else "tensorfloat32"
        jax.config.update("jax_default_matmul_precision", precision)
    else:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(name != "float32")
    return "mixed_bfloat16" if name == "bfloat16" else "float32"


def device() -> str:
    """The name of what is computed on."""
    if BACKEND == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    if BACKEND == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(found[0]).get(
        "device_name", "GPU"
    ) if found else "cpu"  # fmt: skip


def peak_memory(reset: bool = False) -> float | None:
    """Peak GiB on the device since the last reset, which JAX does not have."""
    if BACKEND == "torch":
        import torch

        if not torch.cuda.is_available():
            return None
        peak = torch.cuda.max_memory_allocated()
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return round(peak / 2**30, 3)
    if BACKEND == "jax":
        import jax

        stats = jax.devices()[0].memory_stats() or {}
        peak = stats.get("peak_bytes_in_use")
        return None if peak is None else round(peak / 2**30, 3)
    return None


class Epochs(keras.callbacks.Callback):
    """Notes the seconds of each epoch, whose logs Keras waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def timed(work: Callable[[], Any], times: int) -> float:
    """Median seconds of some calls, after one that counts for nothing."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
