"""Clients that nobody here wrote, in environments of their own, over real sockets.

The first run installs them from the package index, into the cache of pytest.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from served import serving, train

from benchmarks.speed.environments import Environment
from keras_multvae import Recommender, RecVAE, export_onnx, export_saved_model
from keras_multvae.data import Vocabulary
from keras_multvae.server.app import make_app

pytestmark = [pytest.mark.once, pytest.mark.slow]

HISTORIES = [["f1", "f2", "f3"], ["f9", "nobody's"], ["f7"], []]
PACKAGES = {
    "triton": ("tritonclient[http]==2.73.0",),
    "kserve": ("kserve==0.21.0",),
    "openvino": ("openvino==2026.4.1", "numpy"),
}


@pytest.fixture
def python_of(request):
    """client -> the interpreter of its environment."""
    cache = request.config.cache
    if cache is None:
        pytest.skip("pytest has no cache folder")

    def find(client):
        if client not in PACKAGES:
            return sys.executable
        environment = Environment(PACKAGES[client])
        try:
            return environment.python(Path(cache.mkdir("foreign")))
        except subprocess.CalledProcessError:
            pytest.skip(f"{client} cannot be installed: no package index")

    return find


def output(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def ask(python_of):
    """(client, address, histories) -> what the client's own process prints."""

    def run(client, address, histories):
        script = Path(__file__).with_name("foreign") / f"ask_{client}.py"
        histories = json.dumps(histories)
        text = output(python_of(client), script, address, histories)
        return json.loads(text.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def server(served, running, tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign") / "films"
    shutil.copytree(served.folder / "1", folder / "1")
    with running(folder) as client:
        yield str(client.base_url)


def check(served, answers):
    wanted = served.recommender.recommend(HISTORIES, k=100, on_unknown="skip")
    for answer in answers:
        for row, (items, scores) in enumerate(wanted):
            valid = answer["valid"][row]
            assert answer["item_ids"][row][:valid] == items.tolist()
            np.testing.assert_allclose(answer["scores"][row][:valid], scores, atol=1e-5)


@pytest.mark.parametrize(("client", "answers"), [("triton", 4), ("kserve", 2)])
def test_clients_of_v2(served, server, ask, client, answers):
    found = ask(client, server, HISTORIES)
    assert len(found) == answers
    check(served, found)


def test_curl(served, server):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    width = max(map(len, HISTORIES))
    rows = [[*row, *[""] * (width - len(row))] for row in HISTORIES]
    v1 = json.dumps({"inputs": {"item_ids": rows}})
    given = {"name": "item_ids", "datatype": "BYTES", "shape": [4, width]}
    v2 = json.dumps({"inputs": [{**given, "data": rows}]})

    def curl(path, body):
        command = ["curl", "-sS", "--compressed", "-d", body, f"{server}{path}"]
        return json.loads(
            subprocess.run(command, capture_output=True, check=True).stdout
        )

    check(served, [curl("/v1/models/films:predict", v1)["outputs"]])
    outputs = curl("/v2/models/films/infer", v2)["outputs"]
    arrays = {
        each["name"]: np.array(each["data"]).reshape(each["shape"]).tolist()
        for each in outputs
    }
    check(served, [arrays])


@pytest.fixture(scope="module")
def movielens(tmp_path_factory):
    """A recommender with the ids of the pages, and its addresses for HTTP and gRPC."""
    recommender = train([1, 364, 588, 260, *range(1000, 1026)])
    folder = tmp_path_factory.mktemp("movielens") / "movielens"
    export_saved_model(recommender, folder)
    app = make_app(folder, grpc_address="127.0.0.1:0")
    with serving(app) as address:
        yield recommender, address, f"127.0.0.1:{app.state.grpc_port}"


PAGE = Path(__file__).parents[2] / "docs" / "protocols.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("client", ["triton", "kserve", "keras_multvae", "grpc"])
def test_the_examples_of_the_page(movielens, python_of, client):
    recommender, address, rpc = movielens
    (code,) = (
        block for block in BLOCKS if re.search(rf"^(from|import) {client}", block, re.M)
    )
    code = code.replace("localhost:8501", address.removeprefix("http://"))
    code = code.replace("localhost:8500", rpc)
    text = output(python_of(client), "-c", code)
    best = recommender.recommend([[1, 364, 588]], k=3).items[0]
    assert " ".join(map(str, best)) in " ".join(text.split())


@pytest.mark.parametrize("path", [False, True], ids=["network", "linear path"])
def test_openvino(ask, tmp_path, path):
    model = RecVAE(30, 4, 8, seed=1)
    if path:
        model = model.with_linear_path(sparse.random(30, 30, 0.3, rng=0), 0.7)
    recommender = Recommender(model, Vocabulary(range(30)))
    version = export_onnx(recommender, tmp_path / "films", k=20)
    histories = [[1, 2, 3], [], [29], list(range(15))]
    found = ask("openvino", str(version / "model.onnx"), histories)
    counted = [{1: 2.0, 2: 1.0, 3: 1.0}, *histories[1:]]
    for answer, rows in zip(found, (histories, counted), strict=True):
        for row, history in enumerate(rows):
            items, scores = recommender.recommend([history], k=20)[0]
            count = len(items)
            np.testing.assert_allclose(answer["scores"][row][:count], scores, atol=1e-5)
            same = np.array(answer["item_indices"][row][:count]) == items
            assert same.mean() > 0.9  # equal scores may come in any order
            assert answer["item_indices"][row][count:] == [-1] * (20 - count)
