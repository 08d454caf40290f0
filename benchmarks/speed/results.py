"""One result a file: what was measured, on which machine, with which versions."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.speed.processes import ROOT

LIBRARIES = (
    "keras-multvae",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "torch",
    "numpy",
    "scipy",
    "polars",
)


@dataclass
class Result:
    """The samples of a measure.

    Attributes:
        measure: Its name, as on the command line.
        work: What was worked on, in words.
        samples: By quantity (with its unit) and system, one value a round.
        settings: Threads, rounds, batch size and the like.
        notes: What else was found out, as the fastest library of the limit.
        machine: Processor, memory, date and versions.
    """

    measure: str
    work: str
    samples: dict[str, dict[str, list[float]]]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)

    def median(self, quantity: str, system: str) -> float:
        return median(self.samples[quantity][system])

    def medians(self, quantity: str) -> dict[str, float]:
        """By system."""
        return {name: median(values) for name, values in self.samples[quantity].items()}

    def save(self, folder: Path, name: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> Result:
        try:
            return cls(**json.loads(path.read_text()))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(
                f"{path} is no result of this benchmark: {error}"
            ) from None


def against(
    results: Sequence[Result], measure: str, quantity: str, reference: str
) -> dict[str, float]:
    """Medians over the reference's of the same run, by system; not on Gowalla."""
    found: dict[str, float] = {}
    for result in results:
        if result.measure == measure and not result.work.startswith("gowalla"):
            medians = result.medians(quantity)
            if reference in medians:
                base = medians[reference]
                found |= {name: value / base for name, value in medians.items()}
    return found


def machine(peers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the figures depend on; `peers` are versions in other environments."""
    cpu = Path("/proc/cpuinfo").read_text()
    flags = set(_first(r"^flags\s*: (.*)$", cpu).split())
    memory = int(_first(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text()))
    return {
        "cpu": _first(r"^model name\s*: (.*)$", cpu),
        "flags": sorted(f for f in flags if re.match("amx|avx512|avx2|fma", f)),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**20, 1),
        "date": datetime.date.today().isoformat(),
        "revision": revision(),
        "versions": _versions() | dict(peers or {}),
    }


def revision() -> str:
    """The commit that was measured; "+" where files had changed since."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    found = subprocess.run(git, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else "0"
