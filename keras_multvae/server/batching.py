"""Merging of requests that wait at the same time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np

from keras_multvae.data.vocabulary import PADDING
from keras_multvae.server.limits import PIECE_ROWS, Arrays
from keras_multvae.server.status import StatusError, invalid

# Lists of ids, which are padded to equal length. Other inputs must have the same shape
# in requests that are merged.
PADDED = ("item_ids", "deny", "allow")
PADDED_OUTPUTS = ("item_ids", "scores")
MAX_WAITING = 1000  # requests
# Rows of a part of a large request. Other requests wait for one part, so it is small;
# they go before the next parts, unless these have waited for long.
PART_ROWS, PART_SECONDS = 16, 1.0


# The outputs of a request, or its error.
Answer: TypeAlias = dict[str, np.ndarray] | Exception


@dataclass
class _Task:
    signature: str
    inputs: Arrays
    rows: int
    most: int
    group: Hashable
    part: bool
    since: float = field(default_factory=time.monotonic)
    done: asyncio.Future[dict[str, np.ndarray]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """Runs requests in threads, merging those that wait for the same signature.

    No request waits for others to come: a batch has the requests that came while all
    threads were busy. A merged request gets the same arrays as alone: lists of ids are
    padded, and requests with answers of different width, as for different k, are not
    merged. A request with too many rows is split into parts, and other requests may go
    between them.

    Args:
        run: (signature, inputs) -> outputs; called in a thread.
        rowwise: Whether the rows of a signature may be merged.
        executor: The thread pool.
        threads: Int, the number of threads to keep busy.
        on_batch: Called with the number of requests in each batch.
        rows_at_once: (signature, inputs) -> the maximum number of rows in a run.
    """

    def __init__(
        self,
        run: Callable[[str, Arrays], dict[str, np.ndarray]],
        rowwise: Callable[[str], bool],
        executor: Executor,
        threads: int = 1,
        on_batch: Callable[[int], None] = lambda size: None,
        rows_at_once: Callable[[str, Arrays], int] = lambda *_: PIECE_ROWS,
    ) -> None:
        self._run = run
        self._rowwise = rowwise
        self._executor = executor
        self._threads = self._idle = threads
        self._parts: deque[_Task] = deque()
        self._parts_running = 0
        self._on_batch = on_batch
        self._rows_at_once = rows_at_once
        self._waiting: deque[_Task] = deque()

    @property
    def waiting(self) -> int:
        """The number of requests that no thread has taken yet."""
        return len(self._waiting)

    async def submit(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs for a request.

        Raises:
            StatusError: The graph refuses the request, or too many wait (UNAVAILABLE).
        """
        if len(self._waiting) >= MAX_WAITING:
            raise StatusError(
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full",
            )
        most = self._rows_at_once(signature, inputs)
        sizes = {len(array) if array.ndim else 0 for array in inputs.values()}
        rows = max(sizes, default=0)
        if rows <= most or not self._rowwise(signature):
            return await self._one(signature, inputs, most)
        if len(sizes) > 1:
            raise invalid(
                "All inputs must have as many rows as item_ids. Received: ",
                ", ".join(f"{len(each)} {name}" for name, each in inputs.items()),
                ".",
            )
        size = min(most, PART_ROWS)
        return joined(
            [
                await self._one(
                    signature,
                    {
                        name: array[start : start + size]
                        for name, array in inputs.items()
                    },
                    size,
                    part=True,
                )
                for start in range(0, rows, size)
            ]
        )

    async def _one(
        self, signature: str, inputs: Arrays, most: int, part: bool = False
    ) -> dict[str, np.ndarray]:
        """Queues a request, or a part of one, and waits for its outputs."""
        rows, group = self._group(signature, inputs, most)
        task = _Task(signature, inputs, rows, most, group, part)
        (self._parts if part else self._waiting).append(task)
        self._start()
        return await task.done

    def _group(self, signature: str, inputs: Arrays, most: int) -> tuple[int, Hashable]:
        """The number of rows, and a key that requests must share to be merged."""
        sizes = {len(array) if array.ndim else None for array in inputs.values()}
        rows = sizes.pop() if len(sizes) == 1 else None
        if not rows or rows >= most or not self._rowwise(signature):
            return 1, object()
        shapes = tuple(
            (name, array.ndim if name in PADDED else array.shape[1:])
            for name, array in sorted(inputs.items())
        )
        # The answer is as wide as the largest k.
        width = int(inputs["k"].max()) if "k" in inputs else None
        return rows, (signature, shapes, width)

    def _start(self) -> None:
        """Gives waiting requests to idle threads."""
        while self._idle and (batch := self._next()):
            self._idle -= 1
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._executor, self._answer, batch)
            running.add_done_callback(partial(self._finish, batch))

    def _next(self) -> list[_Task]:
        """The next batch: whole requests first, unless a part has waited for long.

        Parts take at most one thread, if there are several.
        """
        most = max(self._threads - 1, 1)
        late = self._parts and time.monotonic() - self._parts[0].since > PART_SECONDS
        if self._parts_running < most and (late or not self._waiting) and self._parts:
            self._parts_running += 1
            return [self._parts.popleft()]
        return self._take() if self._waiting else []

    def _take(self) -> list[_Task]:
        """The request that has waited longest, and those that can be merged with it."""
        first = self._waiting.popleft()
        batch, rows, others = [first], first.rows, deque[_Task]()
        most = first.most
        for task in self._waiting:
            together = min(most, task.most)
            if task.group == first.group and rows + task.rows <= together:
                batch.append(task)
                rows, most = rows + task.rows, together
            else:
                others.append(task)
        self._waiting = others
        return batch

    def _answer(self, batch: list[_Task]) -> Sequence[Answer]:
        """The outputs or the error of each request. Runs in a thread."""
        signature = batch[0].signature
        if len(batch) > 1:
            try:
                outputs = self._run(signature, merge([task.inputs for task in batch]))
                return split(outputs, [task.rows for task in batch])
            except StatusError:
                pass  # One of them is bad; run each alone to find which.
        answers: list[Answer] = []
        for task in batch:
            try:
                answers.append(self._run(signature, task.inputs))
            except Exception as error:
                answers.append(error)
        return answers

    def _finish(
        self, batch: list[_Task], ended: asyncio.Future[Sequence[Answer]]
    ) -> None:
        """Returns the answers of a batch to its requests."""
        self._idle += 1
        self._parts_running -= batch[0].part
        self._start()
        self._on_batch(len(batch))
        error = ended.exception()
        answers = [error] * len(batch) if error else ended.result()
        for task, answer in zip(batch, answers, strict=True):
            if task.done.cancelled():
                continue
            if isinstance(answer, BaseException):
                task.done.set_exception(answer)
            else:
                task.done.set_result(answer)


def merge(
    requests: Sequence[Arrays], padded: Sequence[str] = PADDED
) -> dict[str, np.ndarray]:
    """Concatenates the inputs of several requests.

    Example:

    >>> a, b = np.array([[7]]), np.array([[1, 2]])
    >>> merge([{"item_ids": a}, {"item_ids": b}])["item_ids"].tolist()
    [[7, -1], [1, 2]]
    """
    merged = {}
    for name in requests[0]:
        arrays = [request[name] for request in requests]
        if name in padded and arrays[0].ndim == 2:
            width = max(array.shape[1] for array in arrays)
            arrays = [_widened(array, width) for array in arrays]
        merged[name] = np.concatenate(arrays)
    return merged


def _widened(array: np.ndarray, width: int) -> np.ndarray:
    # Strings come from JSON as bytes; the lowest score is padding.
    padding: bytes | int | float = PADDING["int"]
    if array.dtype == object:
        padding = PADDING["str"].encode()
    elif array.dtype.kind == "f":
        padding = float(np.finfo(array.dtype).min)
    wide = np.full((len(array), width), padding, array.dtype)
    wide[:, : array.shape[1]] = array
    return wide


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins the outputs of the parts of a request, which have the same width.

    Example:

    >>> a, b = np.array([[7]]), np.array([[1, 2]])
    >>> joined([{"item_ids": a}, {"item_ids": b}])["item_ids"].tolist()
    [[7, -1], [1, 2]]
    """
    return merge(parts, PADDED_OUTPUTS)


def split(outputs: Arrays, rows: list[int]) -> list[dict[str, np.ndarray]]:
    """Splits the outputs of merged requests."""
    ends = np.cumsum(rows)[:-1]
    parts = {name: np.split(array, ends) for name, array in outputs.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(len(rows))]
