"""Version folders of a model, `saved_models/NAME/1`, `2`, ..., and what is in one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

# Beside the SavedModel itself.
EXTRA = "assets.extra"
CATALOGUE, CATALOGUE_VERSION = f"{EXTRA}/catalogue.json", 1
WARMUP = f"{EXTRA}/tf_serving_warmup_requests"

LAST_VERSION = 2**63 - 1  # TensorFlow Serving numbers them in 64 bits.


def name_of(path: Path) -> str:
    """The name of a model in a folder: the user's, also where it is a symbolic link."""
    return Path(os.path.abspath(path)).name


def next_version(path: Path) -> int:
    """The next free number."""
    return max((number for number, _ in _numbered(path)), default=0) + 1


def versions_in(path: Path) -> dict[int, Path]:
    """The version folders of a model by number, the newest first."""
    found = {number: each for number, each in _numbered(path) if each.is_dir()}
    return dict(sorted(found.items(), reverse=True))


def saved_models(path: Path) -> list[Path]:
    """The version folders that hold a SavedModel, the newest last."""
    found = list(versions_in(path).values())[::-1]
    return [each for each in found if (each / "saved_model.pb").is_file()]


def prune(path: Path, keep: int, written: Path) -> None:
    """Removes all but the newest; never what is no SavedModel, nor `written`."""
    for old in saved_models(path)[:-keep]:
        if old != written:
            # Renamed first: a server never sees a version that is half gone.
            aside = old.with_name(f".{old.name}.removed")
            old.rename(aside)
            shutil.rmtree(aside)


def _numbered(path: Path) -> Iterator[tuple[int, Path]]:
    """What a server takes for versions, by their names."""
    for each in path.iterdir() if path.is_dir() else ():
        name = each.name
        if name.isascii() and name.isdecimal() and int(name) <= LAST_VERSION:
            yield int(name), each
