"""What docs/serving.md shows for REST and the client is answered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

from served import train

from keras_multvae import export_saved_model

pytestmark = pytest.mark.once

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text()
IDS = [1, 260, 364, 588, 595, *range(1000, 1020)]


@pytest.fixture(scope="module")
def address(running, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "movielens"
    export_saved_model(train(IDS), folder)
    with running(folder) as client:
        yield str(client.base_url)


def test_the_requests_with_curl(address):
    httpx = pytest.importorskip("httpx")
    requests = re.findall(r"curl -d '([^']*)' *\\\n *(http\S+)", PAGE)
    assert len(requests) >= 6
    for body, url in requests:
        url = url.replace("http://localhost:8501", address)
        answer = httpx.post(url, content=body)
        assert answer.status_code == 200, (body, answer.text)
        assert len(answer.json()["predictions"]) == len(json.loads(body)["instances"])


def test_the_client(address, capsys):
    (block,) = re.findall(r"```python\n([^`]*ServingClient\([^`]*)```", PAGE)
    exec(compile(block.replace("http://localhost:8501", address), "page", "exec"), {})
    assert len(capsys.readouterr().out.split()) > 5
