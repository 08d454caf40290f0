"""Systems in processes of their own, told what to do and when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.child import status

ROOT = Path(__file__).resolve().parents[2]
# Settings of a machine that slow NumPy's products down are none of ours.
FOREIGN = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "POLARS_MAX", "RAYON")


@dataclass(frozen=True)
class System:
    """What runs in a process: `target` is "module:class", made with `options`."""

    name: str
    target: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable


class WorkerError(RuntimeError):
    """A system's process died; the message has the end of what it printed."""


class Worker:
    """A process that holds a system and waits for orders.

    Attributes:
        imported: VmRSS and RssAnon, bytes, when the module had been imported.
        made: Seconds that making the system took.
    """

    def __init__(self, system: System, threads: int) -> None:
        self.name = system.name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (close() does)
        self._process = subprocess.Popen(
            [
                system.python,
                "-m",
                "benchmarks.speed.child",
                system.target,
                json.dumps(system.options),
                str(threads),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env=environment(threads) | system.environment,
        )
        answer = self._answer()
        self.imported, self.made = answer["value"], answer["seconds"]

    def call(self, method: str, **arguments: Any) -> tuple[float, Any]:
        """Runs a method of the system: its seconds, and what it gave."""
        try:
            self._process.stdin.write(json.dumps([method, arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # The answer says what happened.
        answer = self._answer()
        return answer["seconds"], answer["value"]

    def memory(self, key: str) -> int:
        """Bytes of VmRSS, VmHWM or RssAnon now."""
        return status(key, self._process.pid)

    @contextmanager
    def watch(self, seconds: float = 0.02) -> Iterator[dict[str, int]]:
        """Samples the memory meanwhile: the highest VmRSS and RssAnon so far, bytes."""
        peak = {key: self.memory(key) for key in self.imported}
        over = threading.Event()

        def sample() -> None:
            while not over.wait(seconds):
                for key in peak:
                    peak[key] = max(peak[key], self.memory(key))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield peak
        finally:
            over.set()
            thread.join()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        tail = "".join(self._errors.readlines()[-20:])
        raise WorkerError(f"{self.name} ended with exit status {code}:\n{tail}")


def environment(threads: int) -> dict[str, str]:
    """The environment of every measured process."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **{f"{name}_NUM_THREADS": str(threads) for name in THREADS},
    }


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)
