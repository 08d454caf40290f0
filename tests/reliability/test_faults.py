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

needed = pytest.mark.skipif(
    not faults.available(), reason="needs Linux and a C compiler"
)
ROOT = Path(__file__).resolve().parents[2]


@needed
def test_a_fault_at_every_operation_of_a_folder_that_is_replaced():
    script = Path(__file__).with_name("every_operation.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.fullmatch(r"\d{3} faults\n", done.stdout), done.stdout


@needed
@pytest.mark.slow
@pytest.mark.parametrize("attack", ["kills", "writes"])
def test_prepare_survives(attack):
    done = subprocess.run(
        [
            *(sys.executable, "-m", f"benchmarks.reliability.{attack}"),
            *("--tries", "12", "--seed", "1", "--commands", "prepare"),
        ],
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
