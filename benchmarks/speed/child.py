"""The far side of `processes.Worker`: one system in a process of its own.

    python -m benchmarks.speed.child MODULE:CLASS OPTIONS THREADS

Imports the module, makes the object with the options (JSON) and then runs the methods
that it is told to, one line of JSON each, answering with seconds and what came back.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module


def main() -> None:
    # The answers have the standard output to themselves: libraries print, too.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    target, options, threads = sys.argv[1:]
    # Before any library counts the cores: JAX has no other switch.
    cores = sorted(os.sched_getaffinity(0))[: int(threads)]
    os.sched_setaffinity(0, cores)
    module, _, name = target.partition(":")
    make = getattr(import_module(module), name)
    imported = {key: status(key) for key in ("VmRSS", "RssAnon")}
    reset_peak()
    start = time.perf_counter()
    system = make(**json.loads(options))
    answer = {"seconds": time.perf_counter() - start, "value": imported}
    print(json.dumps(answer), file=answers)
    for line in sys.stdin:
        method, arguments = json.loads(line)
        start = time.perf_counter()
        value = getattr(system, method)(**arguments)
        answer = {"seconds": time.perf_counter() - start, "value": value}
        print(json.dumps(answer), file=answers)


def status(key: str, pid: int | str = "self") -> int:
    """Bytes that Linux notes for a process: VmRSS, VmHWM, RssAnon."""
    with open(f"/proc/{pid}/status") as lines:
        for line in lines:
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{pid}/status has no {key}.")


def reset_peak() -> None:
    """Makes VmHWM start anew: importing takes more for a moment than it keeps."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


if __name__ == "__main__":
    main()
