"""Calls that may never return, such as on a mount whose server is gone.

Python waits for the threads of its pools before it ends, but not for these. A thread
that has returned takes the next call: malloc keeps freed memory for each thread, so a
new thread for each version would take more and more memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar, cast

T = TypeVar("T")


class _Worker:
    """A thread that makes one call after the other."""

    def __init__(self) -> None:
        self.work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name="files", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.work.get()()


_idle: list[_Worker] = []
_busy: set[_Worker] = set()


def aside(function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
    """Calls a function in a thread of its own."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    worker = _idle.pop() if _idle else _Worker()
    _busy.add(worker)

    def settle(found: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(cast(T, found))
        else:
            future.set_exception(error)

    def work() -> None:
        found, failure = None, None
        try:
            found = function(*arguments)
        except Exception as error:
            failure = error
        _busy.discard(worker)
        _idle.append(worker)
        # The event loop may have ended.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, found, failure)

    worker.work.put(work)
    return future


def any_left() -> bool:
    """Whether some calls have not returned."""
    return bool(_busy)
