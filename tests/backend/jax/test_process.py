"""Several JAX processes train as one does, and go on from each other's state."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_clicks

import keras_multvae
from benchmarks.speed.sent import compiled_step, operations
from keras_multvae import Recommender

ROOT = Path(keras_multvae.__file__).parents[1]
WORKER = Path(__file__).with_name("worker.py")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
}


def sampled(**options):
    """The head of a recipe, as JSON has it."""
    return {"type": "sampled", "num_sampled": 5, **options}


# 13 items divide by no number of parts: the last ones are filled up.
RECIPES = {
    "multvae": (13, {"epochs": 3}),
    "gaussian_dae": (
        13,
        {"epochs": 2, "model": "MultDAE", "likelihood": "gaussian", "hidden_dims": ()},
    ),
    # Two passes of the encoder, one of the decoder, and the encoder's next one.
    "recvae": (
        13,
        {
            "epochs": 4,
            "model": "RecVAE",
            "width": 6,
            "encoder_passes": 2,
            "hidden_dims": None,
        },
    ),
    "sampled": (12, {"epochs": 2, "head": sampled()}),
    "tied": (
        12,
        {"epochs": 2, "head": sampled(sampler="in_batch"), "tied": True},
    ),
    "narrow": (
        12,
        {"epochs": 2, "head": sampled(embedding_dtype="bfloat16")},
    ),
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


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(folder, processes, jobs):
    """Processes that do the jobs together, on this machine."""
    address = f"127.0.0.1:{free_port()}"
    return [
        subprocess.Popen(
            [
                sys.executable,
                WORKER,
                folder,
                address,
                *map(str, (processes, process)),
                json.dumps(jobs),
            ],
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
    """name -> what one process makes of a recipe, which it trains once."""
    found = {}

    def trained(*names):
        missing = [name for name in names if name not in found]
        if missing:
            folder = tmp_path_factory.mktemp("alone")
            answers = run(folder, 1, [job(name) for name in missing])
            found.update(zip(missing, answers, strict=True))
        return [found[name] for name in names]

    return trained


COMMON = [
    ("multvae", "data", None),
    ("multvae", "items", 2),
    ("recvae", "items", 2),
    ("sampled", "items", 2),
]
OTHERS = [
    ("gaussian_dae", "items", 2),
    ("recvae", "data", None),
    ("tied", "data", None),
    ("narrow", "items", 2),
]


@pytest.mark.parametrize("jobs", [COMMON, pytest.param(OTHERS, marks=pytest.mark.slow)])
def test_two_processes_train_as_one(alone, tmp_path, jobs):
    found = run(tmp_path, 2, [job(*each) for each in jobs])
    expected = alone(*(name for name, *_ in jobs))
    for answer, one in zip(found, expected, strict=True):
        assert_same(answer, one)


def test_four_processes_go_on_where_one_of_two_was_killed(alone, tmp_path):
    """Killed in the third epoch of three steps; what four do is the same, too."""
    killed = job("multvae", "items", 2)
    processes = start(tmp_path, 2, [{**killed, "killed": 8}])
    try:
        assert processes[1].wait(120) == -signal.SIGKILL
        # The other cannot go on; JAX would end it after a minute and a half.
        assert processes[0].poll() is None
    finally:
        for process in processes:
            process.kill()
    state = tmp_path / killed["name"]
    assert len((state / "saved" / "history.csv").read_text().splitlines()) == 1 + 2
    (resumed,) = run(tmp_path, 4, [{**killed, "resume": True}])
    assert_same(resumed, *alone("multvae"))


@pytest.mark.slow
def test_four_processes_train_as_one(alone, tmp_path):
    (sampled,) = run(tmp_path, 4, [job("sampled", "items", 4)])
    assert_same(sampled, *alone("sampled"))


@pytest.mark.parametrize("head", ["None", "SampledSoftmax(num_sampled=5)"])
def test_no_table_is_sent_whole_where_devices_have_parts_of_it(monkeypatch, head):
    """What XLA sends in a compiled step, by the shapes in its own text."""
    script = f"""
from conftest import make_clicks
from keras_multvae import MultVAE, SampledSoftmax
from keras_multvae.data import UserBatches
from keras_multvae.distribution import item_parallel, shard
model = MultVAE(998, 3, (6,), head={head})
model.compile()
with item_parallel().scope():
    shard(model).fit(UserBatches(make_clicks(20, 998), 20), verbose=0)
"""
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    # Its text is that of users, who have XLA optimise: see conftest.py.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
    step = compiled_step(script, devices=2)
    sent = list(operations(step))
    assert sent  # the sums of the first layer, if nothing else
    assert "f32[499," in step
    for name, shapes in sent:
        assert not re.search(r"\b(998|499)\b", " ".join(shapes)), (name, shapes)


def test_the_command_trains_with_two_processes(tmp_path):
    """The same model as that of a command alone."""
    clicks = make_clicks(60, 12).tocoo()
    lines = [f"{u},{i}" for u, i in zip(clicks.row, clicks.col, strict=True)]
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("\n".join(["user_id,item_id", *lines]) + "\n")
    program = [sys.executable, "-m", "keras_multvae"]
    common = {"env": ENVIRONMENT, "cwd": tmp_path}
    prepare = [*program, "prepare", ratings, "--out", "prepared"]
    subprocess.run([*prepare, "--min-user-items", "3"], check=True, **common)
    train = [*program, "train", "prepared", "--epochs", "2", "--batch-size", "20"]
    train += ["--latent-dim", "3", "--hidden-dims", "6", "--partitions", "2", "--json"]
    subprocess.run([*train, "--out", "one"], check=True, **common)
    train += ["--distribute", "items", "--processes", "2", "--out", "two"]
    train += ["--coordinator", f"127.0.0.1:{free_port()}", "--process"]
    processes = [
        subprocess.Popen([*train, process], stdout=subprocess.PIPE, text=True, **common)
        for process in "10"
    ]
    silent, answer = (process.communicate(timeout=200)[0] for process in processes)
    # JAX's collectives on CPUs have a line to say.
    assert "epochs" not in silent
    assert json.loads(answer.splitlines()[-1])["epochs"] == 2
    assert not (tmp_path / "two.training").exists()
    one, two = (
        Recommender.load(tmp_path / name).model.get_weights() for name in ("one", "two")
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
