"""Progress on standard error: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

# Seconds between two lines about the same work, where there is no terminal.
PAUSE = 10.0

console = Console(stderr=True, highlight=False, soft_wrap=True)


class RateColumn(ProgressColumn):
    """How many a second, once that is known."""

    def render(self, task: Task) -> Text:
        """See `rich.progress.ProgressColumn`."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


def progress() -> Progress:
    """A bar with what is done of how much, the rate and the time that is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def left(seconds: float) -> str:
    """The time that is left, in words.

    >>> left(75.2)
    '0:01:15 left'
    """
    return f"{timedelta(seconds=round(seconds))} left"


@contextmanager
def reading(
    name: str, done: Callable[[], float], show: bool = True
) -> Iterator[Callable[[Iterable[Any]], Iterable[Any]]]:
    """Shows how far the events of a file are read, and how fast.

    Args:
        name: Of what is read.
        done: Gives the share of it that was read, from 0 to 1.
        show: Whether to show anything.

    Yields:
        A function that takes frames of events and gives them on.
    """
    if not show:
        yield lambda frames: frames
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(f"Reading {name}", total=1.0)

        def shown(frames: Iterable[Any]) -> Iterator[Any]:
            began = said = time.monotonic()
            events = 0
            for frame in frames:
                yield frame
                events, now, share = events + len(frame), time.monotonic(), done()
                words = f"{events:,} events, {events / max(now - began, 1e-9):,.0f}/s"
                bar.update(
                    task, completed=share, description=f"Reading {name}: {words}"
                )
                if now - said >= PAUSE and bar.disable:
                    said = now
                    ahead = (now - began) * (1 / share - 1) if share else None
                    end = "" if ahead is None else f", {left(ahead)}"
                    console.print(f"Reading {name}: {words}{end}", markup=False)
            if bar.disable:
                console.print(f"Read {name}: {words}", markup=False)
            # What was read is still to be ordered and filtered.
            bar.update(task, completed=1.0, description=f"Ordering {words}")

        yield shown
