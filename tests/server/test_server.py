"""`keras-multvae serve` as a process: its start, its end, its failures."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("uvicorn")

from keras_multvae.cli import main
from keras_multvae.server.server import listen

pytestmark = pytest.mark.once

COMMAND = ("-m", "keras_multvae", "serve")


@pytest.fixture(scope="module")
def process(served, tmp_path_factory):
    """A running server, what it has printed, and its address."""
    log = tmp_path_factory.mktemp("log") / "log"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, *COMMAND, str(served.folder), "--port", "0"],
            stderr=file,
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        )
    while not (found := re.search(r"^films: (http://\S+)/ and", log.read_text(), re.M)):
        assert server.poll() is None, log.read_text()
        time.sleep(0.05)
    yield server, log, found[1]
    server.kill()
    server.wait()


def test_requests_under_way_are_answered_at_the_end(served, process):
    server, log, address = process
    assert address.startswith("http://127.0.0.1:")
    body = {"instances": [[f"f{i}"] for i in range(30)]}
    with httpx.Client(base_url=address, timeout=60) as client:
        # The socket is open before the model is loaded: the first request waits.
        expected = client.post("/v1/models/films:predict", json=body)
        assert expected.status_code == 200
        items = served.newer.recommend(["f3"], k=30).items[0]
        first = expected.json()["predictions"][3]
        assert first["item_ids"][: first["valid"]] == items.tolist()
        # A request whose body is half sent when the signal comes.
        half = threading.Event()

        def slowly():
            content = expected.request.content
            yield content[:10]
            half.set()
            ended.wait(10)
            yield content[10:]

        ended, answers = threading.Event(), []
        thread = threading.Thread(
            target=lambda: answers.append(
                client.post("/v1/models/films:predict", content=slowly())
            )
        )
        thread.start()
        half.wait(10)
        server.send_signal(signal.SIGTERM)
        while True:  # until the port is closed
            try:
                socket.create_connection(address[7:].split(":"), 1).close()
                time.sleep(0.05)
            except OSError:
                break
        ended.set()
        thread.join(30)
    assert answers[0].json() == expected.json()
    assert server.wait(30) == 0
    text = log.read_text()
    assert "version 2 is served" in text
    assert "Traceback" not in text


def test_what_cannot_be_served_is_named(served, tmp_path, capsys):
    def failure(*arguments):
        assert main(["serve", *map(str, arguments)]) == 1
        return capsys.readouterr().err

    assert "There is no folder" in failure(tmp_path / "none")
    assert "has no version folder" in failure(tmp_path)
    assert f"Give the folder above it: {served.folder}" in failure(served.folder / "1")
    with listen("127.0.0.1", 0) as taken:
        # asyncio must know that it is TCP, or Nagle's algorithm delays each answer.
        assert taken.proto == socket.IPPROTO_TCP
        port = taken.getsockname()[1]
        text = failure(served.folder, "--port", port)
        assert f"Port {port} of 127.0.0.1 is taken by another program" in text
    assert "Cannot listen" in failure(served.folder, "--host", "256.0.0.1")
