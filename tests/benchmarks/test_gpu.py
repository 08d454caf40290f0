"""The script for a GPU, on little and on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]


def run(tmp_path, *stages):
    backend, out = keras.backend.backend(), tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--small", "--out", str(out)]
    command += ["--cache", str(tmp_path), "--backends", backend, "--stages", *stages]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(out.read_text())


def test_what_a_device_computes_is_right(tmp_path):
    found = run(tmp_path, "correctness")
    checks = [row for row in found if "check" in row]
    assert len(checks) == 18
    assert [row for row in checks if not row["right"]] == []


@pytest.mark.slow
def test_each_stage_gives_its_figures(tmp_path):
    found = run(tmp_path, "training", "scoring")
    assert [row for row in found if "error" in row] == []
    assert min(row["users_per_s"] for row in found if row["stage"] == "training") > 0
    assert len([row for row in found if row["stage"] == "scoring"]) == 3
