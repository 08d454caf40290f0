"""Correctness and speed on a GPU, in stages by worth, in five minutes.

    benchmarks/gpu/run --ml10m ml10m.npz --out gpu.json
    benchmarks/gpu/run --small --seconds 600        # on a CPU, to try the script

Each stage is a process of its own; what it found is printed, and written to `--out`, as
soon as it ends, and what fails says so without keeping the others from their turn. No
network is needed. On a machine that has PyTorch, JAX, SciPy, h5py and rich, these
wheels are all there is to bring: keras (3.15 or newer), namex, optree.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BACKENDS = ("torch", "jax", "tensorflow")
# By worth; those of PyTorch alone have its name.
STAGES = (
    ("correctness", BACKENDS),
    ("training", BACKENDS),
    ("plain", ("torch",)),
    ("scoring", BACKENDS),
    ("quality", BACKENDS),
)
# Seconds under which a stage is not begun.
LEAST = 15


def environment(backend: str, cache: Path) -> dict[str, str]:
    """The variables of a stage's process."""
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        # Or the peak would be what JAX takes beforehand.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "PYTHONUNBUFFERED": "1",
    }


def run(stage: str, backend: str, options: argparse.Namespace, left: float) -> Any:
    """One stage: its findings, one for each line of JSON that it printed."""
    command = [sys.executable, "-m", f"benchmarks.gpu.{stage}"]
    command += ["--cache", str(options.cache)]
    command += ["--small"] if options.small else []
    command += ["--ml10m", str(options.ml10m)] if options.ml10m else []
    found = []
    process = subprocess.Popen(
        command, env=environment(backend, options.cache), stdout=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    watch = subprocess.Popen(
        ["sh", "-c", f"sleep {left:.0f}; kill -9 -{process.pid} 2>/dev/null"],
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        row = {"stage": stage, "backend": backend, **json.loads(line)}
        print(json.dumps(row), flush=True)
        found.append(row)
    if process.wait():
        reason = "out of time" if watch.poll() is not None else "failed"
        found.append({"stage": stage, "backend": backend, "error": reason})
        print(json.dumps(found[-1]), flush=True)
    os.killpg(watch.pid, 9) if watch.poll() is None else None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    installed = [each for each in BACKENDS if find_spec(each)]
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=installed)
    names = [name for name, _ in STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names)
    parser.add_argument("--ml10m", type=Path, help="ml10m.npz; else no quality")
    parser.add_argument("--seconds", type=float, default=300, help="for all stages")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/keras-multvae-gpu"))
    parser.add_argument("--out", type=Path, help="a file for all that was found")
    parser.add_argument("--small", action="store_true", help="sizes that suit a CPU")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    options.cache.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    for stage, backends in STAGES:
        for backend in options.backends:
            if stage not in options.stages or backend not in backends:
                continue
            if stage == "quality" and options.ml10m is None:
                continue
            left = end - time.monotonic()
            start = time.monotonic()
            if left < LEAST:
                found.append({"stage": stage, "backend": backend, "error": "no time"})
                print(json.dumps(found[-1]), flush=True)
                continue
            found += run(stage, backend, options, left)
            print(f"# {stage}, {backend}: {time.monotonic() - start:.0f} s", flush=True)
            if options.out:
                options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
