"""Version folders of a model, `saved_models/NAME/1`, `2`, ..., and their files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_multvae.files import FolderInUseError, discard, lock, new_parents, sweep

# Files beside the SavedModel.
EXTRA = "assets.extra"
CATALOGUE, CATALOGUE_VERSION = f"{EXTRA}/catalogue.json", 1
CARD = f"{EXTRA}/MODEL_CARD.md"
WARMUP = f"{EXTRA}/tf_serving_warmup_requests"

# The file that tells a version's format.
SAVED_MODEL, ONNX = "saved_model.pb", "model.onnx"
FORMATS = {SAVED_MODEL: "SavedModels", ONNX: "ONNX models"}

LAST_VERSION = 2**63 - 1  # TensorFlow Serving numbers them in 64 bits.


def name_of(path: Path) -> str:
    """The name of the model in a folder; that of a symbolic link, not of its target."""
    return Path(os.path.abspath(path)).name


def next_version(path: Path) -> int:
    """The next free number."""
    return max((number for number, _ in _numbered(path)), default=0) + 1


@contextmanager
def claimed(path: Path, version: int | None) -> Iterator[int]:
    """A context in which no other process writes this version.

    Args:
        path: The model's folder.
        version: Int, or None for the next number that is not claimed.

    Raises:
        FileExistsError: The version is there.
        FolderInUseError: Another process is writing it.
    """
    wanted = next_version(path) if version is None else version
    with contextlib.ExitStack() as stack:
        stack.enter_context(new_parents(path / str(wanted)))
        sweep(path)
        while True:
            try:
                stack.enter_context(lock(Path(os.path.realpath(path)) / str(wanted)))
            except FolderInUseError:
                if version is not None:
                    raise
            else:
                if not (path / str(wanted)).exists():
                    break
                if version is not None:
                    raise FileExistsError(
                        f"{path / str(version)} exists; a served version never "
                        "changes. Leave `version` out to write version "
                        f"{next_version(path)}."
                    )
            wanted += 1
        yield wanted


def versions_in(path: Path) -> dict[int, Path]:
    """The version folders of a model by number, the newest first."""
    found = {number: each for number, each in _numbered(path) if each.is_dir()}
    return dict(sorted(found.items(), reverse=True))


def saved_models(path: Path) -> list[Path]:
    """The version folders that hold a SavedModel, the newest last."""
    return _holding(path, SAVED_MODEL)


def _holding(path: Path, file: str) -> list[Path]:
    """The version folders of a format, the newest last."""
    found = list(versions_in(path).values())[::-1]
    return [each for each in found if (each / file).is_file()]


def check_format(path: Path, file: str) -> None:
    """Raises `ValueError` if a model's folder holds versions of another format.

    A server takes each number for a version of its own format.
    """
    for other, words in FORMATS.items():
        if other != file and _holding(path, other):
            raise ValueError(
                f"{path} holds {words}, and a server expects one format in a folder. "
                f"Give the {FORMATS[file]} a folder of their own."
            )


def prune(path: Path, file: str, keep: int, written: Path) -> None:
    """Removes old versions of a format, but never `written`."""
    for old in _holding(path, file)[:-keep]:
        if old != written:
            # Another export may be removing it too.
            with contextlib.suppress(FileNotFoundError):
                # Renamed first, so that a server never sees an incomplete version.
                discard(old)


def _numbered(path: Path) -> Iterator[tuple[int, Path]]:
    """The folders that a server regards as versions, by name."""
    for each in path.iterdir() if path.is_dir() else ():
        name = each.name
        if name.isascii() and name.isdecimal() and int(name) <= LAST_VERSION:
            yield int(name), each
