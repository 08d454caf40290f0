"""Work on files that may never come back, as on a mount whose server is gone.

Python waits for the threads of its pools before it ends; these it does not wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
NAME = "files"


def aside(function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Calls a function in a thread of its own."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(found: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def work() -> None:
        found, failure = None, None
        try:
            found = function(*arguments)
        except Exception as error:
            failure = error
        # The loop may be gone meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, found, failure)

    threading.Thread(target=work, name=NAME, daemon=True).start()
    return future


def any_left() -> bool:
    """Whether some of them have not come back."""
    return any(each.name == NAME for each in threading.enumerate())
