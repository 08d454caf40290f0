"""Reading our files safely: for any content, an error is one line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

from keras_multvae.typing import Json

# Stands for a manifest's SHA-256 of itself while it is computed.
ZEROS = "0" * 64
_OWN = re.compile(rb'"sha256": "([^"\\]*)"\n\}\n\Z')


class DamagedFileError(ValueError):
    """A file or folder is incomplete, damaged, or not of our formats."""


def open_regular(path: Path) -> BufferedReader:
    """Opens a file to read bytes; refuses pipes and devices, which may block.

    Raises:
        DamagedFileError: The file is missing, or is no regular file.
    """
    try:
        file = open(os.fspath(path), "rb", opener=_without_waiting)  # noqa: SIM115
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedFileError(f"The file {path} is missing.") from None
    except IsADirectoryError:
        raise DamagedFileError(f"{path} is a folder, not a file.") from None
    except OSError as error:
        # The error of a socket.
        if error.errno == errno.ENXIO:
            raise DamagedFileError(f"{path} is a socket, not a file.") from None
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DamagedFileError(f"{path} is a pipe or a device, not a file.")
    return file


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads JSON; a missing or broken file raises `DamagedFileError` with its name."""
    return _parsed(Path(path))[0]


def read_format(path: str | os.PathLike[str], name: str, version: int) -> Json:
    """Reads JSON of our format `name`, up to `version`; else `DamagedFileError`.

    A SHA-256 of itself must be right.
    """
    content, raw = _parsed(Path(path))
    found = content.get("format") if isinstance(content, dict) else None
    if found != name:
        raise DamagedFileError(
            f"{path} does not hold the format {name!r} (found: {found!r}); it was not "
            "written by keras_multvae, or is of another kind."
        )
    given = content.get("version")
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise DamagedFileError(f"{path} carries no version number; it is damaged.")
    if given > version:
        raise DamagedFileError(
            f"{path} has version {given} of {name!r}; this keras_multvae "
            f"reads up to version {version}. Install a newer keras_multvae."
        )
    if ("files" in content or "sha256" in content) and not own_sum(raw):
        raise DamagedFileError(
            f"{path} is damaged or was changed: it does not have the SHA-256 that it "
            "was written with. Restore it from a copy, or make the folder anew."
        )
    return dict(content)


def own_sum(content: bytes) -> bool:
    """Whether a manifest contains the right SHA-256 of itself."""
    found = _OWN.search(content)
    if found is None:
        return False
    blank = content[: found.start(1)] + ZEROS.encode() + content[found.end(1) :]
    return hashlib.sha256(blank).hexdigest().encode() == found[1]


def check_replaceable(folder: Path, marker: str, name: str, version: int) -> None:
    """Raises `FileExistsError` unless a folder is absent, empty or of this format.

    `marker` is the file in it that names the format.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        read_format(folder / marker, name, version)
    except (DamagedFileError, NotADirectoryError):
        raise FileExistsError(
            f"{folder} exists and is not a {name} folder of this version: it will not "
            "be replaced. Choose another name or remove it."
        ) from None


def _parsed(path: Path) -> tuple[Any, bytes]:
    with open_regular(path) as file:
        raw = file.read()
    try:
        return json.loads(raw.decode("utf-8")), raw
    # Endless nesting raises RecursionError, too many digits ValueError.
    except (ValueError, RecursionError, MemoryError) as error:
        raise DamagedFileError(
            f"The file {path} is no valid JSON ({error}); it is truncated or was "
            "not written by keras_multvae."
        ) from None


def _without_waiting(path: str, flags: int) -> int:
    """Opens without blocking, as opening a pipe would wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
