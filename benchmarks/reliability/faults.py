"""Processes that are killed at an operation on files, or in which it fails."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("faults.c")
# Seconds after which a process counts as hanging.
PATIENCE = 120.0


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        signal: What killed it, or 0.
        value: What the function gave, if it returned.
        error: Type and text of what it raised.
        hung: Whether it had to be ended.
        said: What was printed.
    """

    signal: int = 0
    value: Any = None
    error: tuple[str, str] | None = None
    hung: bool = False
    said: str = ""

    @property
    def is_crash(self) -> bool:
        return self.signal != 0 and not self.hung

    @property
    def is_one_line(self) -> bool:
        """Whether it was refused in one line."""
        return self.error is not None and "\n" not in self.error[1].strip()


def available() -> bool:
    """Whether faults can be brought about: on Linux, with a C compiler."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def loaded() -> bool:
    """Whether this process can be told to fail."""
    return "faults.so" in os.environ.get("LD_PRELOAD", "")


def reload() -> None:
    """Starts this program again with the library that brings faults about."""
    if loaded():
        return
    if not available():
        sys.exit("Faults need Linux and a C compiler, cc.")
    os.execve(sys.executable, sys.orig_argv, environment())


def environment() -> dict[str, str]:
    """The environment in which `forked` can bring faults about."""
    folder = Path(tempfile.gettempdir()) / f"keras_multvae_faults_{os.getuid()}"
    folder.mkdir(exist_ok=True)
    library = folder / "faults.so"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        made = folder / f"{os.getpid()}.so"
        options = ["-O1", "-shared", "-fPIC", "-U_FORTIFY_SOURCE"]
        subprocess.run(
            ["cc", *options, str(SOURCE), "-o", str(made), "-ldl"], check=True
        )
        made.replace(library)
    return {**os.environ, "LD_PRELOAD": str(library)}


def warm() -> None:
    """Imports what children need, once."""
    import keras_multvae
    import keras_multvae.cli.commands
    import keras_multvae.cli.preparing
    import keras_multvae.cli.training
    import keras_multvae.cli.tuning
    import keras_multvae.cluster.job
    import keras_multvae.plots

    assert keras_multvae.plots.figure_class()
    importlib.import_module("optuna")
    # What Keras and its backends import when a training begins, in seconds.
    found, _ = forked(_modules)
    for name in found.value or ():
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _modules() -> list[str]:
    """All modules that have been imported after a training."""
    from benchmarks.reliability import folders

    with tempfile.TemporaryDirectory() as place:
        folders.make(Path(place), ("prepared", "multvae", "ease", "state"))
        for kind in ("multvae", "state"):
            folders.digest(kind, Path(place) / kind)
    return list(sys.modules)


def forked(
    function: Callable[[], Any],
    *,
    folder: Path | None = None,
    at: int = 0,
    error: int = 0,
    sticky: bool = False,
    exchange: bool = True,
    memory: int | None = None,
) -> tuple[Ended, int]:
    """Calls a function in a process of its own; how it ended, and its operations.

    Args:
        function: What to call; what it gives must be representable as JSON.
        folder: Where operations on files count.
        at: Int, the operation at which the fault is; 0 for none.
        error: Int, errno of the operation; 0 for SIGKILL.
        sticky: Bool, whether all later ones fail, too.
        exchange: Bool, whether names of folders can be exchanged.
        memory: Optional int, bytes that the process may have.
    """
    with tempfile.TemporaryDirectory() as place:
        counter, answer, said = (Path(place, n) for n in ("counter", "answer", "said"))
        counter.write_bytes(bytes(8))
        process = os.fork()
        if process == 0:
            _child(function, answer, said, counter, folder, at, error, sticky, exchange)
        number, hung = _wait(process)
        value: dict[str, Any] = {}
        if answer.exists():
            value = json.loads(answer.read_text())
        text = said.read_text(errors="replace") if said.exists() else ""
        operations = int.from_bytes(counter.read_bytes(), sys.byteorder)
    failed = tuple(value["error"]) if value.get("error") else None
    ended = Ended(number, value.get("value"), failed, hung, text)  # type: ignore[arg-type]
    return ended, operations


def _child(
    function: Callable[[], Any],
    answer: Path,
    said: Path,
    counter: Path,
    folder: Path | None,
    at: int,
    error: int,
    sticky: bool,
    exchange: bool,
) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What writes without end does not fill the disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))
    handle = os.open(said, os.O_CREAT | os.O_WRONLY, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if folder is not None:
        os.environ |= {
            "FAULT_FOLDER": str(folder),
            "FAULT_COUNTER": str(counter),
            "FAULT_AT": str(at),
            "FAULT_ERRNO": str(error),
            "FAULT_STICKY": str(int(sticky)),
        }
        if not exchange:
            os.environ["FAULT_NO_EXCHANGE"] = "1"
        ctypes.CDLL(None).fault_arm()
    try:
        value = {"value": function()}
    except BaseException as failure:
        traceback.print_exc()
        value = {"error": [type(failure).__name__, str(failure)]}
    answer.write_text(json.dumps(value))
    os._exit(0)


def _wait(process: int) -> tuple[int, bool]:
    """The signal that a process ended with, and whether it had to be ended."""
    end, pause = time.monotonic() + PATIENCE, 0.001
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), False
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return signal.SIGKILL, True
