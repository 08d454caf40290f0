"""Version folders of a model: `saved_models/NAME/1`, `2`, ..."""

from __future__ import annotations

import shutil
from pathlib import Path


def numbers(path: Path) -> list[int]:
    """Numbers that are taken in a model's folder, as a server reads them."""
    if not path.is_dir():
        return []
    names = [each.name for each in path.iterdir()]
    return [int(name) for name in names if name.isascii() and name.isdecimal()]


def next_version(path: Path) -> int:
    """The next free number."""
    return max(numbers(path), default=0) + 1


def saved_models(path: Path) -> list[Path]:
    """The version folders that hold a SavedModel, the newest last."""
    found = [path / str(number) for number in sorted(numbers(path))]
    return [each for each in found if (each / "saved_model.pb").is_file()]


def prune(path: Path, keep: int, written: Path) -> None:
    """Removes all but the newest; never what is no SavedModel, nor `written`."""
    for old in saved_models(path)[:-keep]:
        if old != written:
            # Renamed first: a server never sees a version that is half gone.
            aside = old.with_name(f".{old.name}.removed")
            old.rename(aside)
            shutil.rmtree(aside)
