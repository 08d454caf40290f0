"""Whether all files of a version are there: copying one takes time.

An export is there from one moment to the next, but what copies it elsewhere makes it
file by file. So a version carries a list of its files with sizes and checksums.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from keras_multvae.files import write_json
from keras_multvae.serving.versions import EXTRA

FILES, FILES_VERSION = f"{EXTRA}/files.json", 1
MAX_FILES = 10_000  # A version has about ten.


class NotAVersionError(ValueError):
    """A version folder that cannot be loaded, now or ever."""


class NotWholeError(NotAVersionError):
    """Files are missing, or not yet as long as they are to be."""


def write_files(folder: Path) -> None:
    """Writes the list of a version's files; the last thing that an export does."""
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": _digest(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / FILES, {"format_version": FILES_VERSION, "files": files})


def files_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """What changes when a file of a folder does, by path; opens none of them.

    Raises:
        NotAVersionError: There is something in it that blocks whoever reads it, such as
            a pipe, or far too much.
    """
    found: dict[str, tuple[int, ...]] = {}
    for parent, folders, names in os.walk(folder, followlinks=True):
        for name in (*folders, *names):
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, folder)
            try:
                known = os.stat(path)
            except FileNotFoundError:
                continue  # It has just gone, or is a link to nothing.
            if not stat.S_ISREG(known.st_mode) and not stat.S_ISDIR(known.st_mode):
                raise NotAVersionError(
                    f"{relative} is no regular file, but a pipe, socket or device; "
                    "remove it"
                )
            found[relative] = (
                known.st_mode,
                known.st_ino,
                known.st_size,
                known.st_mtime_ns,
                known.st_ctime_ns,
            )
        if len(found) > MAX_FILES:
            raise NotAVersionError(f"it holds more than {MAX_FILES} files")
    return found


def last_change(files: dict[str, tuple[int, ...]]) -> float:
    """When a file last changed, in seconds since 1970; a copy may keep older times."""
    return max((max(known[3:]) for known in files.values()), default=0) / 1e9


def has_list(folder: Path) -> bool:
    """Whether a version says which files it has."""
    return (folder / FILES).is_file()


def check_whole(folder: Path) -> None:
    """Compares a version with the list of its files.

    Raises:
        NotWholeError: Something is missing that a copy under way may bring.
        NotAVersionError: A file, or the list itself, is not what was exported.
    """
    try:
        content = json.loads((folder / FILES).read_text(encoding="utf-8"))
    except ValueError:
        raise NotWholeError(f"{FILES} is not whole") from None
    try:
        newer = content["format_version"] > FILES_VERSION
        listed = {
            str(name): (int(known["size"]), str(known["sha256"]))
            for name, known in content["files"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NotAVersionError(f"{FILES} is not of the form of an export's") from None
    if newer:
        raise NotAVersionError(
            f"{FILES} has version {content['format_version']}; this keras_multvae "
            f"reads up to version {FILES_VERSION}. Install a newer keras_multvae"
        )
    for name, (size, _) in listed.items():
        _check_size(folder, name, size)
    for name, (_, digest) in listed.items():
        if _digest(folder / name) != digest:
            raise NotWholeError(
                f"{name} is not the file that was exported: its checksum is another. "
                "Copy it again"
            )


def _check_size(folder: Path, name: str, size: int) -> None:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise NotAVersionError(f"{FILES} names {name!r}, which is outside of it")
    try:
        found = (folder / path).stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise NotWholeError(f"{name} is missing") from None
    if found != size:
        raise NotWholeError(f"{name} has {found} bytes of {size}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        found: Any = hashlib.file_digest(file, "sha256")
        return str(found.hexdigest())
