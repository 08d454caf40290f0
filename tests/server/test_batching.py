"""Merged requests get what they would have got alone."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("starlette")

from keras_multvae.server import batching
from keras_multvae.server.batching import Batcher
from keras_multvae.server.limits import PIECE_ROWS
from keras_multvae.server.model import LoadedModel
from keras_multvae.server.status import StatusError

pytestmark = pytest.mark.once


def ids(*rows):
    array = np.empty((len(rows), max(map(len, rows), default=0)), object)
    array[:] = b""
    for row, items in zip(array, rows, strict=True):
        row[: len(items)] = [item.encode() for item in items]
    return array


def run_together(run, requests, **options):
    """Answers, or errors, of requests that come while the only thread is busy."""
    sizes, gate = [], threading.Event()

    def guarded(signature, inputs):
        if signature == "busy":
            gate.wait(10)
            return {}
        return run(signature, inputs)

    async def all_of_them():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(
                guarded, lambda name: True, executor, on_batch=sizes.append, **options
            )
            tasks = [asyncio.ensure_future(batcher.submit("busy", {}))]
            tasks += [asyncio.ensure_future(batcher.submit(*each)) for each in requests]
            await asyncio.sleep(0)
            gate.set()
            return (await asyncio.gather(*tasks, return_exceptions=True))[1:]

    return asyncio.run(all_of_them()), sizes[1:]


@pytest.fixture(scope="module")
def model(served):
    model = LoadedModel(served.folder / "1")
    yield model
    model.close()


def test_merged_answers_are_those_of_single_requests(served, model):
    rng = np.random.default_rng(0)

    def history():
        return rng.choice(served.ids, rng.integers(0, 6)).tolist()

    def some(count):
        return np.full(count, 5, "int32")

    requests = []
    for rows in (1, 2, 1, 3):
        item_ids = ids(*(history() for _ in range(rows)))
        requests += [
            ("serving_default", {"item_ids": item_ids}),
            ("embed", {"item_ids": item_ids}),
            ("recommend", {
                "item_ids": item_ids, "k": some(rows),
                "deny": ids(*(history() for _ in range(rows))),
                "allow": ids(*(served.ids[: 9 * (i % 2)] for i in range(rows))),
            }),
            ("discover", {"item_ids": item_ids, "k": some(rows),
                          "niche": rng.random(rows).astype("float32")}),
            ("score", {"item_ids": item_ids,
                       "candidates": ids(*[["f3", "f4", "?"]] * rows)}),
            ("similar_items", {"item_ids": ids(["f1", "f9", "?"])[0, :rows]}),
        ]  # fmt: skip
    together, sizes = run_together(model.run, requests)
    assert sorted(sizes) == [4] * 6
    for request, found in zip(requests, together, strict=True):
        alone = model.run(*request)
        for name, array in alone.items():
            assert found[name].shape == array.shape
            if array.dtype == np.float32:
                np.testing.assert_allclose(found[name], array, atol=1e-5)
            else:
                assert found[name].tolist() == array.tolist()


def test_requests_of_different_width_are_not_merged(served, model):
    def ask(k):
        empty = ids([])
        return ("recommend", {"item_ids": ids(["f1"]), "deny": empty, "allow": empty,
                              "k": np.array([k], "int32")})  # fmt: skip

    found, sizes = run_together(model.run, [ask(3), ask(4), ask(3), ask(99)])
    assert sizes == [2, 1, 1]
    assert [each["scores"].shape[1] for each in found] == [3, 4, 3, 30]


def test_a_bad_request_spoils_no_other(served, model):
    def ask(niche):
        return ("discover", {"item_ids": ids(["f1"]), "k": np.array([3], "int32"),
                             "niche": np.array([niche], "float32")})  # fmt: skip

    found, sizes = run_together(model.run, [ask(0.5), ask(7), ask(0.5), ask(np.nan)])
    assert sizes == [4]
    for bad in (found[1], found[3]):
        assert isinstance(bad, StatusError)
        assert bad.http_status == 400
        assert "niche" in str(bad)
    assert found[0]["scores"].tolist() == found[2]["scores"].tolist()
    assert found[0]["valid"].tolist() == [3]


def test_batches_have_a_largest_size():
    requests = [("a", {"item_ids": np.ones((10, 1), "int64")})] * 20
    requests += [("a", {"item_ids": np.arange(1000)[:, None]})]
    rows = []

    def run(name, inputs):
        rows.append(len(inputs["item_ids"]))
        return dict(inputs)

    found, sizes = run_together(run, requests)
    assert max(rows) <= PIECE_ROWS
    assert max(sizes) * 10 <= PIECE_ROWS
    assert [len(each["item_ids"]) for each in found] == [10] * 20 + [1000]
    assert found[-1]["item_ids"].tolist() == requests[-1][1]["item_ids"].tolist()


def test_a_full_queue_refuses(monkeypatch):
    monkeypatch.setattr(batching, "MAX_WAITING", 2)
    requests = [("a", {"item_ids": np.ones((1, 1), "int64")})] * 4
    found, _ = run_together(lambda name, inputs: dict(inputs), requests)
    assert [isinstance(each, StatusError) for each in found] == [False] * 2 + [True] * 2
    assert found[3].http_status == 503
    assert "queue to which this task was submitted is full" in str(found[3])
