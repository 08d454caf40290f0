"""Progress on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

# Seconds between two lines if the output is no terminal.
EVERY = 10.0

console = Console(stderr=True, highlight=False, soft_wrap=True)


def progress(*columns: ProgressColumn) -> Progress:
    """A progress bar with the count, the remaining time and these further columns."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        TimeRemainingColumn(),
        console=console,
    )


@contextmanager
def counting(
    what: str,
    total: int,
    unit: str = "users",
    *,
    completed: int = 0,
    shown: bool = True,
) -> Iterator[Callable[[int], None]]:
    """A context that shows a count, its rate and the remaining time.

    On a terminal it shows a bar, elsewhere a line now and then and one at the end.

    Args:
        what: The name of the task, such as "recommending".
        total: The final count.
        unit: The unit of the count.
        completed: The count at the start, which is ignored in the rate.
        shown: Bool, whether to show anything.

    Yields:
        A function that adds to the count.
    """
    if not shown:
        yield lambda done: None
        return
    if console.is_terminal:
        with progress(_Rate(unit)) as bar:
            task = bar.add_task(what, total=total, completed=completed)
            yield lambda done: bar.advance(task, done)
        return
    lines = _Lines(what, total, unit, completed)
    yield lines
    lines.tell()


class _Rate(ProgressColumn):
    """Units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self._unit}/s")


class _Lines:
    """The same by lines, for files and pipes."""

    def __init__(self, what: str, total: int, unit: str, completed: int) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._before = self._done = completed
        self._start = self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        # The last line is printed at the end.
        if now - self._last >= EVERY and self._done < self._total:
            self._last = now
            self.tell()

    def tell(self) -> None:
        """Prints the line."""
        words = f"{self._what}: {self._done:,}/{self._total:,} {self._unit}"
        seconds, new = time.monotonic() - self._start, self._done - self._before
        if new and seconds > 0:
            rate = new / seconds
            words += f", {rate:,.0f} {self._unit}/s"
            if self._done < self._total:
                left = timedelta(seconds=round((self._total - self._done) / rate))
                words += f", {left} left"
        console.print(words, markup=False)
