"""Looking at a model's folder without being blocked by its content."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from keras_multvae.serving.versions import LAST_VERSION
from keras_multvae.serving.whole import (
    NotAVersionError,
    files_of,
    has_list,
    last_change,
)

Marks = dict[str, tuple[int, ...]] | str


@dataclass(frozen=True)
class Found:
    """A version folder.

    Attributes:
        origin: Its resolved path.
        marks: Metadata of its files, or why it is no version.
        listed: Whether it has a list of its files.
    """

    origin: Path
    marks: Marks
    listed: bool = False


def numbers_in(folder: Path) -> dict[int, Path]:
    """The numbers of entries with the name of a version, newest first; opens none.

    Raises:
        OSError: The folder cannot be read.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {
        int(name): folder / name
        for name in names
        if name.isascii() and name.isdecimal() and int(name) <= LAST_VERSION
    }
    return dict(sorted(found.items(), reverse=True))


def look_at(path: Path) -> Found | None:
    """Examines a version folder without opening files; None if there is none."""
    origin = path.resolve()
    if not origin.is_dir():
        return None
    try:
        marks = files_of(origin)
    except NotAVersionError as error:
        return Found(origin, str(error))
    return Found(origin, marks, has_list(origin))


@dataclass
class Stillness:
    """How long versions have not changed.

    Args:
        seconds: Float, the time after which a version counts as unchanged.
    """

    seconds: float
    _seen: dict[int, tuple[Marks, float]] = field(default_factory=dict)

    def has(self, number: int, marks: Marks) -> bool:
        """Whether a version has been unchanged for long enough."""
        now = time.monotonic()
        before, since = self._seen.get(number, (None, now))
        if before != marks:
            self._seen[number], since = (marks, now), now
        if now - since >= self.seconds or isinstance(marks, str):
            return True
        # A version older than the server, by its times, need not be watched.
        return 0 < last_change(marks) < time.time() - self.seconds - 1

    def forget(self, number: int) -> None:
        """Forgets a version that is gone."""
        self._seen.pop(number, None)
