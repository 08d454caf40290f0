"""Writing files and folders atomically: under another name, then renamed.

Unfinished files and folders have hidden names in the same folder:

    .NAME.<8 hex digits>.unfinished   being written
    .NAME.<8 hex digits>.replaced     the older folder, while the new one takes its name
    .NAME.<8 hex digits>.removed      going away

The next writer of NAME removes or restores what a killed process has left.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from keras_multvae.files.exchange import exchange
from keras_multvae.files.locks import FolderInUseError, flock, lock, started

_LEFTOVER = r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>unfinished|replaced|removed)"
_LOCK = r"\.(?P<name>.+)\.lock"
_UNFINISHED_FILE = r"\.[0-9]+-[0-9a-f]{8}\.unfinished"


@contextlib.contextmanager
def new_parents(path: Path) -> Iterator[None]:
    """A context that makes the folders above `path`, and removes them on any error."""
    missing = [each for each in path.parents if not each.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    for each in missing:
        _sync(each.parent)
    try:
        yield
    except BaseException:
        for each in missing:
            # Another process may have written to the folder.
            with contextlib.suppress(OSError):
                each.rmdir()
        raise


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A context with a temporary path, which is renamed to `path` on success.

    On any error the temporary file is removed, and an older `path` is unchanged. Of a
    symbolic link, the target is replaced.

    Raises:
        FileExistsError: `path` is a device, a pipe or a socket.
        IsADirectoryError: `path` is a folder.
    """
    path = _place(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. Name a file.")
    with new_parents(path):
        _sweep_files(path)
        token = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        temporary = path.with_name(f".{path.name}.{token}.unfinished{path.suffix}")
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        try:
            # The lock tells others that the file is still being written.
            flock(handle)
            yield temporary
            # An unfinished folder is synced as a whole.
            finished = not _is_unfinished(path.parent)
            if finished:
                _sync(temporary)
            temporary.replace(path)
            if finished:
                _sync(path.parent)
        finally:
            os.close(handle)
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def replace_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A context with a temporary folder, which is renamed to `path` on success.

    There is never an incomplete folder under that name, and if the system can exchange
    names, it is never missing. Other writers of `path` are locked out. Of a symbolic
    link, the target is replaced. Within a folder that is itself unfinished, and so has
    no other readers or writers, `path` is written as it is.

    Raises:
        FolderInUseError: Another process writes `path`.
        FileExistsError: `path` is no folder.
    """
    path = _place(path)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} exists and is no folder. Choose another name.")
    if _is_unfinished(path):
        # Another name, within or beside it, would be left there after a kill.
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        yield path
        return
    with new_parents(path), lock(path):
        _recover(path)
        temporary = _beside(path, "unfinished")
        temporary.mkdir()
        try:
            yield temporary
            _sync_all(temporary)
            _put(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Writes `value` as UTF-8 JSON, atomically."""
    with replace_file(path) as temporary:
        temporary.write_text(as_text(value), encoding="utf-8")


def as_text(value: object) -> str:
    """A value as JSON, formatted as in our files."""
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def discard(folder: Path) -> None:
    """Removes a folder; after a kill, it is complete or gone under its name."""
    aside = _beside(folder, "removed")
    folder.rename(aside)
    shutil.rmtree(aside)


def existing_folder(path: Path) -> Path:
    """The folder; restores it if a killed process has left it under a hidden name.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not path.is_dir():
        recover(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}.")
    return path


def sweep(folder: Path) -> None:
    """Removes or restores what killed writers have left in a folder.

    It touches neither what is still being written nor other names.
    """
    patterns = (_LEFTOVER, _LOCK)
    names = {found["name"] for each in patterns for found in _leftovers(folder, each)}
    for name in names:
        with contextlib.suppress(FolderInUseError), lock(folder / name):
            _recover(folder / name)


def recover(path: Path) -> None:
    """Restores a folder that exists only under its hidden name after a kill."""
    found = _leftovers(path.parent, _LEFTOVER) if path.parent.is_dir() else ()
    if any(each["name"] == path.name for each in found):
        # Without permission to write, nothing can be restored.
        with contextlib.suppress(OSError), lock(path):
            _recover(path)


def _recover(path: Path) -> None:
    for found in list(_leftovers(path.parent, _LEFTOVER)):
        if found["name"] != path.name:
            continue
        left = path.parent / found.string
        if found["kind"] == "replaced" and not path.exists():
            left.rename(path)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _sweep_files(path: Path) -> None:
    """Removes what killed writers of a file have left."""
    name, suffix = re.escape(path.name), re.escape(path.suffix)
    for found in _leftovers(path.parent, rf"\.{name}{_UNFINISHED_FILE}{suffix}"):
        left = path.parent / found.string
        process = int(found.string[len(path.name) + 2 :].partition("-")[0])
        if started(process) is not None:
            continue
        with contextlib.suppress(OSError):
            handle = os.open(left, os.O_RDWR)
            try:
                if flock(handle) is not False:
                    left.unlink()
            finally:
                os.close(handle)


def _leftovers(folder: Path, pattern: str) -> Iterator[re.Match[str]]:
    """Yields the hidden names that killed writers have left in a folder."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".")]
    yield from filter(None, (re.fullmatch(pattern, name) for name in names))


def _is_unfinished(path: Path) -> bool:
    """Whether a folder is being written, or is in one that is."""
    found = (re.fullmatch(_LEFTOVER, each.name) for each in (path, *path.parents))
    return any(each is not None and each["kind"] == "unfinished" for each in found)


def _beside(path: Path, kind: str) -> Path:
    """A hidden name beside a path, of a kind such as "unfinished"."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{kind}")


def _place(path: str | os.PathLike[str]) -> Path:
    """Resolves symbolic links of a path; refuses anything but files and folders."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FileExistsError(
            f"{path} is a device, a pipe or a socket, and will not be replaced. Name a "
            "file or a folder."
        )
    return Path(os.path.realpath(path))


def _put(temporary: Path, path: Path) -> None:
    """Gives a finished folder its name; `temporary` is then the older one, or gone."""
    if not path.exists():
        temporary.rename(path)
    elif not exchange(temporary, path):
        aside = _beside(path, "replaced")
        path.rename(aside)
        try:
            temporary.rename(path)
        except BaseException:
            aside.rename(path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    _sync(path.parent)


def _sync_all(folder: Path) -> None:
    for each in folder.rglob("*"):
        if each.is_file() or each.is_dir():
            _sync(each)
    _sync(folder)


def _sync(path: Path) -> None:
    """Flushes a file or folder to disk."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems cannot sync folders.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(handle)
