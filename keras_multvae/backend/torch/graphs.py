"""Training steps as CUDA graphs, launched by one call.

A step of `fit` calls some hundred operations from Python. A GPU finishes them sooner
than Python can call them. So the operations of a step are recorded once for each shape
of a batch, and then launched together. Values that the step reads in Python, such as a
layer's settings, are fixed by the recording, as in a compiled step of TensorFlow or
JAX.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import keras
import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from keras_multvae.typing import Logs, Seeds, Shape, Tensor

# Steps of each shape that run before one is recorded: they allocate what later steps
# reuse, such as constants and workspaces of libraries.
WARM_UP = 3
# While a recorded step runs, the last of these provides the random generators. A
# training step: a list of one batch in, logs out.
Step: TypeAlias = Callable[[list[Tensor]], Logs]
# Shapes and dtypes of a batch.
Shapes: TypeAlias = tuple[tuple[Shape, object], ...]
_sources: list[Callable[[Seeds], torch.Generator]] = []


def seed_of(seeds: Seeds) -> int:
    """The next seed of Keras' generator."""
    return int(sum(seeds.next())) & 0xFFFFFFFF


def generator(seeds: Seeds) -> torch.Generator:
    """A PyTorch generator for one operation."""
    return _sources[-1](seeds) if _sources else _seeded(seeds)


def _seeded(seeds: Seeds) -> torch.Generator:
    return torch.Generator(_device()).manual_seed(seed_of(seeds))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


class Training:
    """`fit` of a `keras.Model`, with recorded steps on a GPU."""

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
    """A training step that is recorded for each shape of a batch.

    Args:
        step: The function that Keras calls: a list of one batch in, logs out.
    """

    def __init__(self, step: Step) -> None:
        self._step: Step = step
        self._times: dict[Shapes, int] = {}
        self._recordings: dict[Shapes, _Recording] = {}
        self._stream = torch.cuda.Stream()
        self._constants = _Constants()
        # The seeds that the last step drew from, in order.
        self._drawn: list[Seeds] = []
        self._works = True

    def __call__(self, data: list[Tensor]) -> Logs:
        """Logs of the step, which the next one overwrites."""
        leaves = keras.tree.flatten(data)
        shape = tuple((tuple(leaf.shape), leaf.dtype) for leaf in leaves)
        if shape not in self._recordings:
            times = self._times[shape] = self._times.get(shape, 0) + 1
            if times <= WARM_UP or not self._works or not self._record(shape, data):
                return self._as_it_is(data)
        return self._recordings[shape].run(leaves)

    def _as_it_is(self, data: list[Tensor]) -> Logs:
        self._drawn = []
        _sources.append(self._draw)
        try:
            with _on(self._stream), self._constants:
                return self._step(data)
        finally:
            _sources.pop()

    def _draw(self, seeds: Seeds) -> torch.Generator:
        self._drawn.append(seeds)
        return _seeded(seeds)

    def _record(self, shape: Shapes, data: list[Tensor]) -> bool:
        """Records a step; returns whether that was possible."""
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
        data: A batch, whose arrays are copied.
        drawn: The seeds that it draws from, in order.
    """

    def __init__(self, data: object, drawn: list[Seeds]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        # Seeded before each run, and registered before the graph is recorded.
        self._draws = [(seeds, torch.Generator(_device())) for seeds in drawn]
        for _, made in self._draws:
            self._graph.register_generator_state(made)
        self._inputs = [leaf.clone() for leaf in keras.tree.flatten(data)]
        self._batch = keras.tree.pack_sequence_as(data, self._inputs)
        self._logs: Logs = {}

    def pool(self) -> tuple[int, int]:
        """The memory pool of the graph, which other graphs may share."""
        return self._graph.pool()

    def record(self, step: Step, stream: object, pool: object) -> None:
        """Records the step without running it."""
        torch.cuda.synchronize()
        draws = iter(self._draws)

        def draw(seeds: Seeds) -> torch.Generator:
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

    def run(self, leaves: list[Tensor]) -> Logs:
        """Runs the step on another batch, and overwrites the numbers in its logs."""
        for kept, leaf in zip(self._inputs, leaves, strict=True):
            kept.copy_(leaf, non_blocking=True)
        for seeds, made in self._draws:
            made.manual_seed(seed_of(seeds))
        self._graph.replay()
        return self._logs


class _Constants(TorchFunctionMode):
    """Caches constants on the device, as a recorded step cannot copy them there."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[tuple[object, ...], Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Tensor, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func not in (torch.as_tensor, torch.tensor) or _is_tensor(args[0]):
            return func(*args, **kwargs)
        array = np.asarray(args[0])
        key = (array.tobytes(), array.shape, str(array.dtype), str(kwargs))
        if key not in self._kept:
            self._kept[key] = func(*args, **kwargs)
        # A copy, as operations in place must not change the constant.
        return self._kept[key].clone()


def _is_tensor(value: Tensor) -> bool:
    """Whether a value is a tensor, or a list with one."""
    parts = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(part, torch.Tensor) for part in parts)


@contextmanager
def _on(stream: torch.cuda.Stream) -> Iterator[None]:
    """Runs work on another stream, synchronised with the current one on both sides."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)
