"""Several JAX processes train as one does, and go on from each other's state."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_multvae

ROOT = Path(keras_multvae.__file__).parents[1]
WORKER = Path(__file__).with_name("distributed_worker.py")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
}
# 13 items divide by no number of parts: the last ones are filled up.
RECIPES = {
    "multvae": (13, {"epochs": 3}),
    "gaussian_dae": (
        13,
        {"epochs": 2, "model": "MultDAE", "likelihood": "gaussian", "hidden_dims": ()},
    ),
    "sampled": (12, {"epochs": 2, "output": "sampled", "num_sampled": 5}),
    "tied": (
        12,
        {"epochs": 2, "output": "sampled", "sampler": "in_batch", "num_sampled": 5}
        | {"tied": True},
    ),
}
# By the number of processes: which recipe, what is split up, parts of the item tables.
JOBS = {
    2: [
        ("multvae", "data", None),
        ("multvae", "items", 2),
        ("gaussian_dae", "items", 2),
        ("sampled", "items", 2),
        ("tied", "data", None),
    ],
    4: [("multvae", "items", 2), ("sampled", "items", 4)],
}

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="keras.distribution is for JAX"
)


def job(recipe, kind="one", parts=None, **more):
    items, options = RECIPES[recipe]
    name = f"{recipe}-{kind}-{parts}"
    return {
        "name": name, "items": items, "recipe": options, "kind": kind, "parts": parts,
        **more,
    }  # fmt: skip


def start(folder, processes, jobs):
    """One process each, on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        subprocess.Popen(
            [sys.executable, WORKER, folder, address, str(processes), str(process)]
            + [json.dumps(jobs)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=(Path(folder) / f"{processes}-{process}.log").open("w"),
            text=True,
        )
        for process in range(processes)
    ]


def run(folder, processes, jobs):
    started = start(folder, processes, jobs)
    try:
        lines = started[0].communicate(timeout=300)[0].splitlines()
        codes = [process.wait(60) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0] * processes, (Path(folder) / f"{processes}-0.log").read_text()
    return [json.loads(line) for line in lines if line.startswith("{")]


def assert_same(found, expected):
    assert len(found["history"]) == len(expected["history"])
    for row, other in zip(found["history"], expected["history"], strict=True):
        assert row.keys() == other.keys()
        for key in row:
            np.testing.assert_allclose(row[key], other[key], rtol=2e-5, err_msg=key)
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=2e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    found = run(tmp_path_factory.mktemp("alone"), 1, [job(name) for name in RECIPES])
    return dict(zip(RECIPES, found, strict=True))


@pytest.mark.parametrize("processes", JOBS)
def test_losses_metrics_and_models_are_those_of_one_process(alone, processes, tmp_path):
    jobs = JOBS[processes]
    found = run(tmp_path, processes, [job(*each) for each in jobs])
    for (name, *_), one in zip(jobs, found, strict=True):
        assert_same(one, alone[name])


def test_killed_in_mid_epoch_goes_on_with_another_number_of_processes(alone, tmp_path):
    """Two processes, one killed in the third epoch of four steps; then four."""
    killed = job("multvae", "items", 2)
    processes = start(tmp_path, 2, [killed])
    try:
        for line in processes[0].stdout:
            if line.split() == ["step", "10"]:
                processes[1].send_signal(signal.SIGKILL)
                break
        # What is left of the job cannot go on alone.
        assert processes[0].wait(120) != 0
    finally:
        for process in processes:
            process.kill()
    state = tmp_path / killed["name"]
    assert len((state / "history.csv").read_text().splitlines()) == 1 + 2
    resumed = {**killed, "kind": "data", "resume": True}
    (found,) = run(tmp_path, 4, [resumed])
    assert_same(found, alone["multvae"])
