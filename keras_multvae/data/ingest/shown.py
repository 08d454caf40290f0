"""Progress of reading files of events, on standard error; private."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta

from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from keras_multvae.progress import console
from keras_multvae.typing import Frame

# Seconds between two lines if standard error is no terminal.
PAUSE = 10.0


@contextmanager
def reading(
    name: str, done: Callable[[], float], show: bool = True
) -> Iterator[Callable[[Iterable[Frame]], Iterable[Frame]]]:
    """A context that shows the progress and the rate of reading events.

    Args:
        name: The name of the source.
        done: Returns the share of it that has been read, from 0 to 1.
        show: Whether to show anything.

    Yields:
        A function that passes frames of events through and counts them.
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
    # Before rich 15 a bar that is off ends with an empty line.
    with nullcontext() if bar.disable else bar:
        task = bar.add_task(f"Reading {name}", total=1.0)

        def shown(frames: Iterable[Frame]) -> Iterator[Frame]:
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
                    end = "" if ahead is None else f", {_words(ahead)} left"
                    console.print(f"Reading {name}: {words}{end}", markup=False)
            if bar.disable:
                console.print(f"Read {name}: {words}", markup=False)
            # The events are still to be sorted and filtered.
            bar.update(task, completed=1.0, description=f"Ordering {words}")

        yield shown


def _words(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
