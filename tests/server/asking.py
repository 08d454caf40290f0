"""What the tests of the local server ask, and how they look at its answers."""

from __future__ import annotations

import time

import numpy as np

PREDICT = "/v1/models/films:predict"


def error(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def check(recommender, history, answer, k=100):
    """An answer of serving_default against `Recommender`."""
    items, scores = recommender.recommend(history, k=k)[0]
    valid = answer["valid"]
    assert answer["item_ids"][:valid] == items.tolist()
    np.testing.assert_allclose(answer["scores"][:valid], scores, atol=1e-5)


def eventually(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def reason(client, version):
    """What is told about a version that is not served."""
    found = client.get(f"/v1/models/films/versions/{version}").json()
    (state,) = found["model_version_status"]
    return state["status"]["error_message"]


def states(client):
    found = client.get("/v1/models/films").json()["model_version_status"]
    return {each["version"]: each["state"] for each in found}
