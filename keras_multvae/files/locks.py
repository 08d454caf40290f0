"""Locks for folders: one writer at a time, by a lock file beside the folder.

The system releases a lock (`flock`) when its process ends in any way. The content of
the file is for cases that `flock` does not cover: another host, and a forked process
that outlived its parent.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from keras_multvae.typing import Json

try:
    import fcntl
except ImportError:  # On Windows there is only the content of the file.
    fcntl = None  # type: ignore[assignment]

# Seconds between updates of a lock, and without one after which an owner on another
# host counts as gone.
BEAT, SILENCE = 5.0, 120.0

_held = threading.local()


class FolderInUseError(OSError):
    """Another process is writing this folder."""


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """A context in which no other process or thread writes the folder `path`.

    The thread that holds a lock may take it again.

    Args:
        path: The folder, which need not exist; the one above it must.

    Raises:
        FolderInUseError: Another process holds the lock; says which, and what to do.

    Example:

    >>> folder = Path(tempfile.mkdtemp()) / "model"
    >>> with lock(folder):
    ...     [file.name for file in folder.parent.iterdir()]
    ['.model.lock']
    >>> list(folder.parent.iterdir())
    []
    """
    # Resolved, so that each folder has one lock.
    path = path.resolve()
    paths = _held.__dict__.setdefault("paths", set())
    if path in paths:
        yield
        return
    file = path.with_name(f".{path.name}.lock")
    handle = _taken(file, path)
    end = threading.Event()
    beat = threading.Thread(target=_beat, args=(handle, end), daemon=True)
    beat.start()
    paths.add(path)
    try:
        yield
    finally:
        paths.discard(path)
        end.set()
        beat.join()
        # Removed while it is held, so that no other process can have taken it over.
        if _is(file, handle):
            file.unlink(missing_ok=True)
        os.close(handle)


def _taken(file: Path, path: Path) -> int:
    """Takes the lock; returns the open lock file."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            free = flock(handle)
            # Another process may have removed it between our opening and locking.
            if _is(file, handle):
                owner = _owner(handle)
                gone = owner is None or _is_gone(owner, handle, file)
                if free is False and owner is not None and gone:
                    # A process that the owner forked still holds the system's lock.
                    file.unlink(missing_ok=True)
                elif free is False or not gone:
                    raise FolderInUseError(_refusal(path, file, owner))
                else:
                    text = json.dumps({**_myself(), "token": uuid.uuid4().hex})
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, text.encode(), 0)
                    taken, handle = handle, -1
                    return taken
        finally:
            if handle >= 0:
                os.close(handle)


def flock(handle: int) -> bool | None:
    """Locks an open file; whether that succeeded, or None without system locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        return None  # a file system without locks
    return True


def _is(file: Path, handle: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(file.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _owner(handle: int) -> Json | None:
    """The content of a lock file; None if it is empty."""
    try:
        found = json.loads(os.pread(handle, 4096, 0))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_gone(owner: Json, handle: int, file: Path) -> bool:
    """Whether the owner of a lock has ended."""
    me = _myself()
    if owner.get("machine") == me["machine"]:
        return started(owner.get("process")) != owner.get("started")
    # Both times are by the clock of the file system.
    with tempfile.TemporaryFile(dir=file.parent) as now:
        silence = os.fstat(now.fileno()).st_mtime - os.fstat(handle).st_mtime
    return silence > SILENCE


def _refusal(path: Path, file: Path, owner: Json | None) -> str:
    who = "another process"
    if owner is not None:
        who = f"process {owner.get('process')} on {owner.get('host')}"
    return (
        f"{path} is being written by {who}: wait until it has ended, or choose another "
        f"name. (The lock is {file}.)"
    )


def _beat(handle: int, end: threading.Event) -> None:
    """Updates the lock's time stamp until `end` is set."""
    while not end.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(handle)


def _myself() -> Json:
    """This process and thread, as a lock names its owner."""
    process = os.getpid()
    return {**_machine(), "process": process, "started": started(process)}


@cache
def _machine() -> dict[str, str]:
    """The host, boot and container, in which process ids are unique."""
    host = socket.gethostname()
    parts = [host]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return {"host": host, "machine": " ".join(parts)}


def started(process: object) -> str | None:
    """The start time of a process of this machine; None if it has ended."""
    if not isinstance(process, int) or process <= 0:
        return None
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            return None
        # The fields after the name in brackets, which may contain anything.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    found = subprocess.run(
        ["ps", "-p", str(process), "-o", "lstart="],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
