"""How far something is, on standard error."""

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

# Seconds from one line to the next where the output is no terminal.
EVERY = 10.0

console = Console(stderr=True, highlight=False, soft_wrap=True)


def progress(*columns: ProgressColumn) -> Progress:
    """A bar with what is done of how much, the time that is left, and more columns."""
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
    """A context that shows how far a count is, its rate and the time that is left.

    On a terminal that is a bar; elsewhere a line now and then, and one at the end.

    Args:
        what: What is going on, as "recommending".
        total: What the count ends at.
        unit: What is counted.
        completed: What was done before; it has no say in the rate.
        shown: Bool, whether to show anything.

    Yields:
        What to call with how many more are done.
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
    """How many of a unit are done a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self._unit}/s")


class _Lines:
    """The same for files and pipes, a line at a time."""

    def __init__(self, what: str, total: int, unit: str, completed: int) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._before = self._done = completed
        self._start = self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        # The last one is told when all is over.
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
