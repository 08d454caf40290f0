"""What lies in a model's folder, looked at without being held up by any of it."""

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
        origin: Where it really lies.
        marks: Its files, which change when it does; or why it can be none.
        listed: Whether it came with the list of its files.
    """

    origin: Path
    marks: Marks
    listed: bool = False


def numbers_in(folder: Path) -> dict[int, Path]:
    """What has the name of a version, the newest first; touches none of it.

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
    """A version folder; None if there is no folder. Opens no file."""
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
    """Since when versions have not changed.

    Args:
        seconds: Float, after how long one counts as still.
    """

    seconds: float
    _seen: dict[int, tuple[Marks, float]] = field(default_factory=dict)

    def has(self, number: int, marks: Marks) -> bool:
        """Whether a version has been as it is for long enough."""
        now = time.monotonic()
        before, since = self._seen.get(number, (None, now))
        if before != marks:
            self._seen[number], since = (marks, now), now
        if now - since >= self.seconds or isinstance(marks, str):
            return True
        # What was there before the server need not be watched, if its times are right.
        return 0 < last_change(marks) < time.time() - self.seconds - 1

    def forget(self, number: int) -> None:
        """It is gone."""
        self._seen.pop(number, None)
