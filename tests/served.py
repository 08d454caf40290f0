"""A small model, exported once for all tests of the server and the client."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import keras
import pytest
from conftest import make_clicks

from keras_multvae import MultVAE, Recommender, export_saved_model
from keras_multvae.data import UserBatches, Vocabulary

ITEMS = 30


def train(ids, titles=None, seed=1, likelihood="multinomial", features=None):
    model = MultVAE(len(ids), 4, (16,), likelihood=likelihood, seed=seed)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(UserBatches(make_clicks(60, len(ids)), 20), epochs=2, verbose=0)
    return Recommender(model, Vocabulary(ids), titles=titles, features=features)


@contextmanager
def serving(app, guard=None):
    """The address of a real server of an ASGI application, in a thread."""
    pytest.importorskip("uvicorn")
    from keras_multvae.server.connections import Guard, Server
    from keras_multvae.server.server import listen

    guard = guard or Guard()
    guard.refused = app.state.metrics.refused
    server = Server(app, guard, log_config=None)
    listening = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="session")
def running():
    """(folder, ...) -> an HTTP client of a local server, as a context."""
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("starlette")
    from keras_multvae.server.app import make_app

    @contextmanager
    def run(folder, **options):
        guard = options.pop("guard", None)
        app = make_app(folder, **{"poll_seconds": 0.05, **options})
        with serving(app, guard) as address, httpx.Client(base_url=address) as client:
            yield client

    return run


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """Recommenders with string ids, and their versions 1 and 2 of the model `films`."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("starlette")
    folder = tmp_path_factory.mktemp("served") / "films"
    ids = [f"f{i}" for i in range(ITEMS)]
    titles = {id_: f"Film {id_[1:]}: The {'Été' if i % 2 else 'Night'} (20{i:02})"
              for i, id_ in enumerate(ids)}  # fmt: skip
    recommenders = [train(ids, titles, seed) for seed in (1, 2)]
    for version, recommender in enumerate(recommenders, 1):
        export_saved_model(recommender, folder, version=version)
    return SimpleNamespace(
        folder=folder, ids=ids, titles=titles,
        recommender=recommenders[0], newer=recommenders[1],
    )  # fmt: skip


@pytest.fixture
def films(served, tmp_path):
    """A folder `films` of one's own, with version 1."""
    shutil.copytree(served.folder / "1", tmp_path / "films" / "1")
    return tmp_path / "films"
