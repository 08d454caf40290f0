"""Virtual environments of the peers, made once in the cache folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from benchmarks.speed.processes import say

TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Environment:
    """What pip installs; `alone` are packages whose requirements it leaves out."""

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()

    def python(self, cache: Path) -> Path:
        """Its interpreter; installs everything in the first call."""
        name = sha256(repr(self).encode()).hexdigest()[:8]
        folder = cache / f"environment-{name}"
        done = folder / "complete"
        if not done.is_file():
            say(f"installing {', '.join(self.packages)}")
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, *self.packages], check=True)
            if self.alone:
                subprocess.run([*pip, "--no-deps", *self.alone], check=True)
            done.touch()
        return folder / "bin" / "python"

    def versions(self, cache: Path) -> dict[str, str]:
        """What the environment holds, by package."""
        pip = [str(self.python(cache)), "-m", "pip", "list", "--format", "json"]
        found = json.loads(subprocess.run(pip, check=True, capture_output=True).stdout)
        return {package["name"]: package["version"] for package in found}


# RecBole 1.2.1 uses names that NumPy 2 and pandas 3 have dropped. Its requirements
# bring an old Ray, which only its tuning needs and which stops at Python 3.11.
RECBOLE = Environment(
    (
        TORCH,
        "numpy==1.26.4",
        "scipy==1.13.1",
        "pandas==2.2.3",
        "scikit-learn",
        "colorlog==4.7.2",
        "colorama==0.4.4",
        "plotly",
        "psutil",
        "pyyaml",
        "tabulate",
        "tensorboard",
        "texttable",
        "thop",
        "tqdm",
    ),
    alone=("recbole==1.2.1",),
)
CORNAC = Environment((TORCH, "cornac==3.0.1"))
