"""Samples of benchmarks/reliability's kills and write errors, in a fresh process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reliability import faults

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not faults.available(), reason="needs Linux and a C compiler")
@pytest.mark.parametrize("attack", ["kills", "writes"])
def test_prepare_and_recommend_survive(attack):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.reliability.{attack}"]
        + ["--tries", "12", "--seed", "1", "--commands", "prepare"],
        env={
            **os.environ,
            "KERAS_BACKEND": "torch",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"\| all \| 12 \| 0 \|", done.stdout), done.stdout + done.stderr
