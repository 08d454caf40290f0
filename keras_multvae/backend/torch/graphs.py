"""Training steps as CUDA graphs: launched at once, where Keras takes milliseconds.

A step of `fit` runs some hundred operations, each called from Python. On a GPU they end
sooner than they are called. So the operations of a step are recorded, once for each
shape of a batch, and then run by one call. What a step reads in Python, as a setting of
a layer, is as it was when it was recorded, as in a compiled step of TensorFlow or JAX.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from keras_multvae.typing import Seeds, Tensor

# Steps of a shape that run as they are before one is recorded: they make what lasts,
# such as workspaces of libraries and constants.
WARM_UP = 3
# What hands out generators in place of new ones, while a recorded function runs.
_sources: list[Callable[[Any], Any]] = []


def seed_of(seeds: Seeds) -> int:
    """The next seed, as Keras makes it of its generator's state."""
    return int(sum(seeds.next())) & 0xFFFFFFFF


def generator(seeds: Seeds) -> Any:
    """PyTorch's generator for one operation."""
    return _sources[-1](seeds) if _sources else _seeded(seeds)


def _seeded(seeds: Seeds) -> Any:
    return torch.Generator(_device()).manual_seed(seed_of(seeds))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


class Training:
    """`fit` of a `keras.Model`, with recorded steps where there is a GPU."""

    steps_alike: bool
    train_function: Any
    sparse_gradients: bool

    def make_train_function(self, force: bool = False) -> None:
        """See `keras.Model`."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)  # type: ignore[misc]
        distributed = torch.distributed
        several = distributed.is_available() and distributed.is_initialized()
        compiled = self.jit_compile  # type: ignore[attr-defined]
        alike = self.steps_alike and not self.sparse_gradients
        if torch.cuda.is_available() and alike and not (several or compiled):
            self.train_function = RecordedStep(self.train_function)


class RecordedStep:
    """A function of a batch that is recorded, for each shape, once it has run a while.

    Args:
        step: What Keras calls: a list of one batch in, logs out.
    """

    def __init__(self, step: Callable[[Any], Any]) -> None:
        self._step: Callable[[Any], Any] = step
        self._times: dict[Any, int] = {}
        self._recordings: dict[Any, _Recording] = {}
        self._stream = torch.cuda.Stream()
        self._constants = _Constants()
        # What the last step drew random numbers by, in its order.
        self._drawn: list[Seeds] = []
        self._works = True

    def __call__(self, data: object) -> Any:
        """Logs of the step, which the next one overwrites."""
        leaves = keras.tree.flatten(data)
        shape = tuple((tuple(leaf.shape), leaf.dtype) for leaf in leaves)
        if shape not in self._recordings:
            times = self._times[shape] = self._times.get(shape, 0) + 1
            if times <= WARM_UP or not self._works or not self._record(shape, data):
                return self._as_it_is(data)
        return self._recordings[shape].run(leaves)

    def _as_it_is(self, data: object) -> Any:
        self._drawn = []
        _sources.append(self._draw)
        try:
            with _on(self._stream), self._constants:
                return self._step(data)
        finally:
            _sources.pop()

    def _draw(self, seeds: Seeds) -> Any:
        self._drawn.append(seeds)
        return _seeded(seeds)

    def _record(self, shape: object, data: object) -> bool:
        """Whether it could be done."""
        recording = _Recording(data, self._drawn)
        pool = next((each.pool() for each in self._recordings.values()), None)
        try:
            with self._constants:
                recording.record(self._step, self._stream, pool)
        except RuntimeError as error:
            self._works = False
            warnings.warn(
                "This model's training step reads something back from the GPU, or "
                "brings something to it, so it could not be recorded as a CUDA graph. "
                f"It goes on without, slower. PyTorch says: {error}",
                stacklevel=2,
            )
            return False
        self._recordings[shape] = recording
        return True


class _Recording:
    """One step on batches of one shape.

    Args:
        data: What the step takes, to be copied.
        drawn: What it draws random numbers by, in its order.
    """

    def __init__(self, data: object, drawn: list[Seeds]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        # Seeded anew at each run, and known to the graph before it begins.
        self._draws = [(seeds, torch.Generator(_device())) for seeds in drawn]
        for _, made in self._draws:
            self._graph.register_generator_state(made)
        self._inputs = [leaf.clone() for leaf in keras.tree.flatten(data)]
        self._batch = keras.tree.pack_sequence_as(data, self._inputs)
        self._logs: Any = None

    def pool(self) -> Any:
        """The memory of the graph, which others may share."""
        return self._graph.pool()

    def record(self, step: Callable[[Any], Any], stream: object, pool: object) -> None:
        """Records the step, which is not run."""
        torch.cuda.synchronize()
        draws = iter(self._draws)

        def draw(seeds: Seeds) -> Any:
            expected, made = next(draws)
            if expected is not seeds:
                raise RuntimeError("Random numbers are drawn in another order.")
            return made

        _sources.append(draw)
        try:
            with torch.cuda.graph(
                self._graph, pool, stream, capture_error_mode="thread_local"
            ):
                self._logs = step(self._batch)
        finally:
            _sources.pop()

    def run(self, leaves: list[Any]) -> Any:
        """The step on another batch: the same logs, with new numbers in them."""
        for kept, leaf in zip(self._inputs, leaves, strict=True):
            kept.copy_(leaf, non_blocking=True)
        for seeds, made in self._draws:
            made.manual_seed(seed_of(seeds))
        self._graph.replay()
        return self._logs


class _Constants(TorchFunctionMode):
    """Keeps numbers that a step brings to the device: a recorded one cannot."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[Any, Any] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.as_tensor, torch.tensor) or _is_tensor(args[0]):
            return func(*args, **kwargs)
        array = np.asarray(args[0])
        key = (array.tobytes(), array.shape, str(array.dtype), str(kwargs))
        if key not in self._kept:
            self._kept[key] = func(*args, **kwargs)
        # What is made of a constant in place must not change it.
        return self._kept[key].clone()


def _is_tensor(value: Tensor) -> bool:
    parts = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(part, torch.Tensor) for part in parts)


@contextmanager
def _on(stream: Any) -> Iterator[None]:
    """Work on another stream, before which and after which all else has ended."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)
