"""MLflow and TensorBoard as they are on PyPI, in an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path

import pytest

# Installing takes minutes and the network, as that of the wheel does.
pytestmark = [pytest.mark.slow, pytest.mark.once]

ROOT = Path(__file__).resolve().parents[2]
CURVES = """
import sys
from keras_multvae.training import Curves
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

curves = Curves("logs")
for epoch, loss in enumerate((3.0, 2.0)):
    curves.on_epoch_end(epoch, {"loss": loss, "val_ndcg_at_100": loss / 8})
for part, tag in (("train", "loss"), ("validation", "ndcg_at_100")):
    found = EventAccumulator(f"logs/{part}")
    found.Reload()
    print([(each.step, each.value) for each in found.Scalars(tag)])
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A folder with an environment that has MLflow, TensorBoard and JAX."""
    folder = tmp_path_factory.mktemp("trackers")
    venv.create(folder / "venv", with_pip=True)
    wanted = [f"{ROOT}[jax,data]", "mlflow", "tensorboard"]
    run(folder, "-m", "pip", "install", "--quiet", *wanted)
    return folder


def run(folder, *arguments):
    """What Python printed."""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [folder / "venv" / "bin" / "python", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def test_a_run_and_a_recommender_in_mlflow(environment):
    """The example checks that the logged model gives the recommender's answers."""
    shown = run(environment, str(ROOT / "examples" / "track_with_mlflow.py"))
    found = json.loads(shown.splitlines()[-1])
    assert found["epochs"] == "20"
    assert {"loss", "val_ndcg_at_100", "test_ndcg_at_100"} <= set(found["metrics"])


def test_tensorboard_reads_the_curves(environment):
    assert run(environment, "-c", CURVES).splitlines() == [
        "[(1, 3.0), (2, 2.0)]",
        "[(1, 0.375), (2, 0.25)]",
    ]
