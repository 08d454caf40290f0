"""Systems in processes of their own, and measures from end to end on very little."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import sparse

from benchmarks.plain_torch import PlainMultVAE, top_k
from benchmarks.speed import (
    catalogue,
    data,
    items,
    load,
    overhead,
    runtimes,
    scoring,
    serving,
    training,
)
from benchmarks.speed.command import main
from benchmarks.speed.processes import System, Worker, WorkerError, environment
from benchmarks.speed.results import Result
from benchmarks.speed.systems import limit
from benchmarks.speed.traffic import Client, Known, Traffic, predict_request, same, send

BACKEND = keras.backend.backend()
HERE = str(Path(__file__).parent)
ECHO = System("echo", "echo:Echo", {"word": "ab"}, {"PYTHONPATH": HERE})


@pytest.mark.once
def test_a_worker_answers_though_its_system_prints():
    with Worker(ECHO, threads=1) as worker:
        seconds, value = worker.call("say", times=2)
        assert value == "abab"
        assert 0 < seconds < 1
        # Threads are set where libraries look for them.
        assert worker.call("cores")[1] == [1, "1"]


@pytest.mark.once
def test_the_peak_is_seen_after_it_has_gone():
    with Worker(ECHO, threads=1) as worker, worker.watch() as peak:
        before = worker.memory("VmRSS")
        worker.call("fill", mib=64)
        worker.call("fill", mib=0)
        assert worker.memory("VmHWM") - before > 60 << 20
        assert peak["RssAnon"] >= worker.memory("RssAnon")
        assert worker.memory("VmRSS") - before < 32 << 20


@pytest.mark.once
def test_the_end_of_a_worker_is_explained():
    with (
        Worker(ECHO, threads=1) as worker,
        pytest.raises(WorkerError, match=r"(?s)echo ended with.*no more paper"),
    ):
        worker.call("fail")


@pytest.mark.once
def test_settings_that_slow_numpy_are_left_behind(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    assert "OPENBLAS_CORETYPE" not in environment(2)
    assert environment(2)["OMP_NUM_THREADS"] == "2"


@pytest.mark.once
@pytest.mark.parametrize(
    "library, dtype",
    [(name, dtype) for dtype, names in limit.PRECISIONS.items() for name in names],
)
def test_the_products_of_the_limit(library, dtype):
    pytest.importorskip(
        {"PyTorch": "torch", "oneDNN": "torch"}.get(library, library.lower())
    )
    rng = np.random.default_rng(0)
    hidden, kernel, gradient = (
        rng.standard_normal(shape, "float32") for shape in ((5, 4), (4, 7), (5, 7))
    )
    found = limit.LIBRARIES[library](dtype, hidden, kernel, gradient)()
    expected = (hidden @ kernel, gradient @ kernel.T, hidden.T @ gradient)
    tolerance = 1e-5 if dtype == "float32" else 0.1
    for one, other in zip(found, expected, strict=True):
        assert dtype in str(one.dtype)
        wide = np.asarray(one.float() if library == "PyTorch" else one, "float32")
        np.testing.assert_allclose(wide, other, rtol=1e-4, atol=tolerance)


@pytest.mark.once
def test_the_weights_of_the_network():
    torch = pytest.importorskip("torch")
    model = PlainMultVAE(50, 600, 200, 0.5)
    assert limit.weights(50) == sum(map(torch.numel, model.parameters()))


@pytest.mark.once
def test_plain_top_k_leaves_out_what_was_seen():
    pytest.importorskip("torch")
    clicks = sparse.random(30, 40, 0.2, "csr", "float32", rng=0)
    clicks.data[:] = 1
    model = PlainMultVAE(40, 8, 4, 0.5)
    items, scores = top_k(model, clicks, 10, batch_size=7)
    expected = model.score(clicks)
    expected[clicks.toarray() > 0] = -np.inf
    np.testing.assert_array_equal(items, np.argsort(-expected, axis=1)[:, :10])
    assert (np.diff(scores, axis=1) <= 0).all()


def measured(tmp_path, *arguments):
    """The result of a measure on the command line."""
    tail = ["--cache", str(tmp_path), "--results", str(tmp_path), "--rounds", "2"]
    main([*arguments, *tail])
    return Result.load(tmp_path / f"{arguments[0]}.json")


def test_training_in_alternation(tmp_path, monkeypatch, capsys):
    # Few items, or the networks would take their time.
    make = data.synthetic
    monkeypatch.setattr(data, "synthetic", lambda users: make(users, 300, 20))
    some = {"float32": ["NumPy"], "bfloat16": ["PyTorch"]}
    monkeypatch.setattr(limit, "PRECISIONS", some)
    systems = [BACKEND, "plain", "limit"]
    found = measured(
        tmp_path,
        "training",
        "--users",
        "60",
        "--batch-size",
        "20",
        "--systems",
        *systems,
    )
    names = [catalogue.OURS[BACKEND].name, catalogue.PLAIN, *training.LIMITS.values()]
    assert list(found.samples[training.RATE]) == names
    assert all(len(rates) == 2 for rates in found.samples[training.RATE].values())
    assert min(min(rates) for rates in found.samples[training.RATE].values()) > 0
    assert found.notes["limit"]["library"] == "NumPy"
    assert found.notes["limit, bfloat16"]["library"] == "PyTorch"
    assert f"| {names[0]} |" in capsys.readouterr().out


@pytest.mark.once
def test_overhead_and_scoring(tmp_path, monkeypatch):
    make = data.synthetic
    monkeypatch.setattr(data, "synthetic", lambda users: make(users, 300, 20))
    options = ["--users", "60", "--batch-size", "20", "--systems", BACKEND]
    found = measured(tmp_path, "overhead", *options)
    assert list(overhead.overheads(found)) == [catalogue.OURS[BACKEND].name]
    found = measured(tmp_path, "scoring", *options)
    assert scoring.table(found).startswith("| ")


@pytest.mark.once
def test_items(tmp_path, monkeypatch):
    monkeypatch.setattr(items, "ITEMS", (100, 300))
    monkeypatch.setattr(items, "UNITS", 8)
    options = ["--users", "60", "--batch-size", "20", "--systems", BACKEND]
    found = measured(tmp_path, "items", *options)
    name = catalogue.OURS[BACKEND].name
    sizes = ("100 items", "300 items", "300 items in bfloat16")
    assert list(found.samples[items.RATE]) == [f"{name}, {size}" for size in sizes]
    assert items.kept(found)[name] > 0
    assert 0 < items.peak(found)[f"{name}, 300 items"] < 4
    assert "1.00x" in items.table(found).splitlines()[2]  # 100 items, the yardstick


@pytest.mark.once
def test_serving(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    monkeypatch.setattr(data, "NUM_ITEMS", 300)
    monkeypatch.setattr(serving, "TIMES", 3)
    found = measured(tmp_path, "serving", "--systems", "int8")
    assert {len(values["int8"]) for values in found.samples.values()} == {1, 2}
    assert serving.ratios(found)["int8"] > 0
    # 300 items of 600 int8 weights in two tables, and the inner layers in float32.
    assert 1.5 < found.median(serving.DISK, "int8") < 3
    assert serving.table(found).startswith("| weights |")


@pytest.mark.once
@pytest.mark.slow
def test_runtimes(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(data, "NUM_ITEMS", 300)
    monkeypatch.setattr(runtimes, "TIMES", 2)
    found = measured(tmp_path, "runtimes", "--systems", "SavedModel", "ONNX Runtime")
    assert list(found.samples) == ["ms, 1 user", "ms, 100 users"]
    _, _, plain, other = runtimes.table(found).splitlines()
    assert plain.startswith("| SavedModel |")
    assert plain.count("1.00x") == 2
    assert other.startswith("| ONNX Runtime |")


@pytest.mark.once
def test_the_table_of_serving_compares_users():
    samples = {
        quantity: {"float32": [1.0, 3.0, 2.0], "int8": [3.0, 3.0, 3.0]}
        for quantity in (serving.ANSWER, serving.DISK, serving.RESIDENT, serving.PEAK)
    }
    samples[serving.FLOOR] = {"float32": [1.0], "int8": [2.0]}
    samples[serving.QUALITY] = {"float32": [0.5, 0.1, 0.3], "int8": [0.5, 0.1, 0.3]}
    result = Result("serving", "one user", samples)
    *_, float32, int8 = serving.table(result).splitlines()
    assert float32.startswith(
        "| float32 | 2.00 | 1.00 | 3.00 | 2.00x | 2 | 2 | 2 | 0.30"
    )
    assert int8.endswith("| 0.3000 | +0.0000 ± 0.0000 | 1.000 |")
    assert serving.plain(result) == {"float32": 2.0}


@pytest.mark.once
@pytest.mark.slow
def test_load(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    pytest.importorskip("uvicorn")
    monkeypatch.setattr(data, "NUM_ITEMS", 300)
    monkeypatch.setattr(load, "HISTORIES", 5)
    monkeypatch.setattr(load, "LIMIT_MS", 0.0)  # No rate but the first is held.
    found = measured(tmp_path, "load", "--seconds", "6")
    assert load.bad(found) == {"local server": 0}
    assert found.notes == {
        "highest": 50.0, "rate": 30.0, "version": 4, "failures": []
    }  # fmt: skip
    assert found.samples[load.ASKED] == {"steady": [300], "held": [180, 180]}
    assert load.spread(found)["local server"] >= 1
    assert load.table(found).count("\n| ") == 4


@pytest.mark.once
def test_traffic_counts_what_goes_wrong():
    def answer(*items):
        row = {"item_ids": list(items), "scores": [-1.0, -2.0], "valid": 2}
        return json.dumps({"predictions": [row]}).encode()

    good, newer, neither = answer("a", "b"), answer("c", "d"), answer("e", "f")
    bodies = [good, neither, newer, good, None, newer]

    async def serve(reader, writer):
        # One request a connection: the next finds it closed, and opens another.
        await reader.readuntil(b"}]}")
        body = bodies.pop(0)
        status = b"200 OK" if body else b"503 Busy"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s"
                     % (status, len(body or b"{}"), body or b"{}"))  # fmt: skip
        writer.close()

    def one(body):
        return json.loads(body)["predictions"]

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            client = Client(*server.sockets[0].getsockname())
            known, found = Known({1: one(good), 2: one(newer)}), Traffic()
            for _ in range(6):  # one after the other
                sent = await send(
                    client, [predict_request("m", ["a"])], known, rate=1e3, seconds=1e-3
                )
                found.milliseconds += sent.milliseconds
                found.failed += sent.failed
                found.wrong += sent.wrong
            client.close()
        return found, known

    found, known = asyncio.run(run())
    # One of no version, and one of the old version after the new one has answered.
    assert found.wrong == 2
    assert len(found.failed) == 1 and "status 503" in found.failed[0]
    assert len(found.milliseconds) == 5
    assert known.newest == 2


@pytest.mark.once
@pytest.mark.parametrize(
    ("items", "scores", "expected"),
    [
        (["a", "b", "c"], [3, 2, 1], True),
        (["b", "a", "c"], [3, 2, 1], False),
        (["a", "c", "b"], [3, 1, 2], False),
        (["a", "b", "c"], [3, 2, 1.1], False),
        (["a", "b", "d"], [3, 2, 1], True),  # of equal score with the last
        (["a", "d", "c"], [3, 2, 1], False),
    ],
)
def test_answers_are_compared(items, scores, expected):
    known = {"item_ids": ["a", "b", "c"], "scores": [3, 2, 1], "valid": 3}
    found = {"item_ids": items, "scores": scores, "valid": 3}
    assert same(known, found) == expected
    assert not same(known, found | {"valid": 2})


@pytest.mark.once
@pytest.mark.parametrize("wrong", ["0", "-1", "many"])
def test_bad_counts_are_named(wrong, capsys):
    with pytest.raises(SystemExit):
        main(["training", "--users", wrong])
    assert "must be a whole number >= 1" in capsys.readouterr().err
