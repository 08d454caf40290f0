"""Batch recommendation on a cluster of several nodes, all on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars
import pytest
from conftest import contents
from polars.testing import assert_frame_equal

from keras_multvae import MultVAE, Recommender, recommend_on_ray
from keras_multvae.cli import main
from keras_multvae.cluster import on_ray
from keras_multvae.data import Interactions, UnknownIdError, load_prepared
from keras_multvae.data.prepared import save_prepared
from keras_multvae.data.splits.strong import strong_generalization
from keras_multvae.files import DamagedFileError, FolderInUseError, lock

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

USERS, ITEMS, STORE = 1200, 30, 80 << 20
# Shards of two batches: as in one process, all batches have the same shape.
JOB = {"shard_size": 20, "k": 5, "batch_size": 10}
# A job of hundreds of shards, so that there is time to kill what does them.
LONG = {"shard_size": 4, "k": 5, "batch_size": 2}


@pytest.fixture(scope="module")
def cluster():
    """A head that does no work and two nodes of one processor, connected."""
    started = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": STORE,
            "include_dashboard": False,
            # To notice a dead node within a second, not within a quarter of a minute.
            "_system_config": {
                "health_check_initial_delay_ms": 0,
                "health_check_period_ms": 500,
                "health_check_timeout_ms": 500,
                "health_check_failure_threshold": 2,
            },
        },
    )
    for _ in range(2):
        started.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(address=started.address, log_to_driver=False, logging_level="ERROR")
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """prepared/, a recommender without histories, model/, and one with them, kept/."""
    folder = tmp_path_factory.mktemp("ray")
    taste = (np.arange(USERS)[:, None] + np.arange(ITEMS)) % 2 == 0
    rng = np.random.default_rng(0)
    users, items = np.nonzero(taste & (rng.random(taste.shape) < 0.7))
    clicks = Interactions.from_events(
        [f"u{u:04}" for u in users], items, min_user_items=5
    )
    split = strong_generalization(clicks, 10, 10)
    save_prepared(split, folder / "prepared")
    model = MultVAE(split.train.num_items, 3, (8,), seed=0)
    Recommender(model, split.train.items).save(folder / "model")
    Recommender(model, split.train.items, histories=split.train).save(folder / "kept")
    return folder


def single(folder, out, job=JOB, **options):
    """What one process answers."""
    train = load_prepared(folder / "prepared").split.train
    model = Recommender.load(folder / "model")
    recommender = Recommender(model.model, model.items, histories=train)
    options = {"k": job["k"], "batch_size": job["batch_size"], **options}
    recommender.recommend_to_parquet(out, **options)
    return polars.read_parquet(out)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def parts(out):
    return sorted((out / "parts").glob("part-*"))


def is_complete(out):
    return json.loads((out / "manifest.json").read_text())["complete"]


def times(out):
    return {path.name: path.stat().st_mtime_ns for path in parts(out)}


def shards(folder, job=JOB):
    users = load_prepared(folder / "prepared").split.train.num_users
    return -(-users // job["shard_size"])


def stop_after(patch, count):
    """Has the driver interrupted once so many shards are done."""
    check, done = on_ray._check, []

    def interrupted(*arguments):
        check(*arguments)
        done.append(arguments)
        if len(done) == count:
            raise KeyboardInterrupt

    patch.setattr(on_ray, "_check", interrupted)


def in_background(*arguments, **options):
    """Starts the job in a thread; its result is put into the list."""
    found = []

    def work():
        try:
            found.append(recommend_on_ray(*arguments, **options))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, found


def wait_until(condition, running):
    while not condition():
        assert running(), "the job ended early"
        time.sleep(0.01)


def at_work(node):
    """Whether a worker of the node is at a shard: Ray titles its processes."""
    raylet = node.all_processes["raylet"][0].process.pid
    listing = ["ps", "--ppid", str(raylet), "-o", "args="]
    return "_fill" in subprocess.run(listing, capture_output=True, text=True).stdout


def nobody_at_work(cluster):
    return lambda: not any(map(at_work, cluster.worker_nodes))


@pytest.mark.once
def test_a_job_that_was_stopped_does_what_is_left(cluster, folder, tmp_path):
    out = tmp_path / "out"
    arguments = (folder / "kept", out)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            recommend_on_ray(*arguments, **JOB)
    wait_until(nobody_at_work(cluster), lambda: True)
    done = times(out)
    assert 5 <= len(done) < shards(folder) and not is_complete(out)
    # What a worker that was killed would leave.
    (out / "parts" / ".part-00007.parquet.x.parquet").touch()
    rows = recommend_on_ray(*arguments, **JOB)
    assert is_complete(out) and len(times(out)) == shards(folder)
    assert done.items() <= times(out).items()
    table = polars.read_parquet(out / "parts")
    assert len(table) == rows
    assert_frame_equal(table, single(folder, tmp_path / "single.parquet"))
    # Once more: there is nothing left, and no worker is asked.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_ray, "connected", lambda *_: pytest.fail("connected"))
        assert recommend_on_ray(*arguments, **JOB) == rows


@pytest.mark.once
def test_another_job_is_refused(cluster, folder, tmp_path):
    out = tmp_path / "out"
    job = {**JOB, "shard_size": 500, "deny": [3, np.int64(5)]}
    rows = recommend_on_ray(folder / "model", out, folder / "prepared", **job)
    assert rows == len(single(folder, tmp_path / "single", deny=[3, 5]))
    before = times(out)
    other = tmp_path / "other"
    loaded = Recommender.load(folder / "model")
    weights = loaded.model.get_weights()
    loaded.model.set_weights([2 * weight for weight in weights])
    loaded.save(other)
    for model, changes, name in (
        ("model", {"k": 6}, "options is .*'k': 5.* there and .*'k': 6.* here"),
        ("model", {"deny": [3]}, "options"),
        ("model", {"shard_size": 400}, "shard_size is 500 there and 400 here"),
        ("model", {"part": "test"}, "users"),
        (other, {}, "another job: model is"),
    ):
        with pytest.raises(FileExistsError, match=name):
            recommend_on_ray(
                folder / model, out, folder / "prepared", **{**job, **changes}
            )
    assert times(out) == before
    # Another model under the same name is not the one that workers have in memory.
    model, again = tmp_path / "model", tmp_path / "again"
    Recommender.load(folder / "model").save(model)
    job = {"shard_size": 500, "k": 5, "resources": {"num_cpus": 1}}
    recommend_on_ray(model, tmp_path / "first", folder / "prepared", **job)
    loaded.save(model)
    recommend_on_ray(model, again, folder / "prepared", **job)
    assert not polars.read_parquet(again / "parts")["score"].equals(
        polars.read_parquet(tmp_path / "first" / "parts")["score"]
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="will not be replaced"):
        recommend_on_ray(folder / "kept", tmp_path / "mine")


@pytest.mark.once
def test_a_shard_that_fails_ends_the_job_with_its_reason(cluster, folder, tmp_path):
    def failing(job, shard, models):
        if shard == 2:
            raise ValueError("no such thing")
        job.fill(shard)

    out = tmp_path / "out"
    arguments = (folder / "model", out, folder / "prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_ray, "_fill", failing)
        with pytest.raises(RuntimeError, match=r"40 to 59\) failed.*no such thing"):
            recommend_on_ray(*arguments, num_workers=1, **JOB)
    # One after the other, and none again.
    assert [path.name for path in parts(out)] == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert not is_complete(out)


@pytest.mark.once
def test_damage_is_found(cluster, folder, tmp_path):
    """In the histories before anything is done, in parts before they count as done."""
    prepared, out = tmp_path / "prepared", tmp_path / "out"
    shutil.copytree(folder / "prepared", prepared)
    flip(prepared / "train" / "data.npy", 200)
    job = {"shard_size": 400, "k": 5, "resources": {"num_cpus": 1}}
    with pytest.raises(DamagedFileError, match=r"train/data\.npy is damaged"):
        recommend_on_ray(folder / "model", out, prepared, **job)
    assert not out.exists()
    rows = recommend_on_ray(folder / "model", out, folder / "prepared", **job)
    whole = contents(out)
    assert json.loads(whole["manifest.json"])["files"].keys() == whole.keys() - {
        "manifest.json"
    }
    flip(out / "parts" / "part-00001.parquet", 300)
    # In a folder that is complete, and in one that is not yet.
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            recommend_on_ray(folder / "model", out, folder / "prepared", **job)
    (out / "parts" / "part-00002.parquet").write_bytes(b"PAR1")
    again = recommend_on_ray(folder / "model", out, folder / "prepared", **job)
    assert (again, contents(out)) == (rows, whole)


@pytest.mark.once
def test_one_job_at_a_time(cluster, folder, tmp_path):
    out = tmp_path / "out"
    with lock(out), ThreadPoolExecutor(1) as other:
        job = {"k": 5, "shard_size": 400}
        with pytest.raises(FolderInUseError, match="being written by process"):
            other.submit(recommend_on_ray, folder / "kept", out, **job).result()
    assert list(tmp_path.iterdir()) == []


def test_events_from_files_and_the_command(cluster, folder, tmp_path, capsys):
    events = tmp_path / "events"
    events.mkdir()
    train = load_prepared(folder / "prepared").split.train
    users, items = train.matrix.nonzero()
    table = polars.DataFrame(
        {"customer": train.users.ids[users].tolist(), "sku": train.items.ids[items]}
    )
    table[:5000].write_parquet(events / "1.parquet")
    table[5000:].write_parquet(events / "2.parquet")
    command = ["recommend", str(folder / "model"), str(events), "-k", "5", "--json"]
    command += ["--user-column", "customer", "--item-column", "sku"]
    command += ["--niche", "0.5", "--deny", str(train.items.ids[0])]
    one, out = tmp_path / "one.parquet", tmp_path / "out"
    assert main([*command, "--out", str(one)]) == 0
    capsys.readouterr()
    assert main([*command, "--out", str(out), "--engine", "ray"]) == 0
    printed, bar = capsys.readouterr()
    found = polars.read_parquet(out / "parts")
    assert json.loads(printed) == {"out": str(out), "rows": len(found)}
    assert "recommending" in bar
    assert_frame_equal(found, polars.read_parquet(one), rel_tol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events",
        "one.parquet",
        "out",
    ]
    assert int(train.items.ids[0]) not in set(found["item_id"])
    polars.DataFrame({"customer": ["new", "none"], "sku": [0, 99]}).write_parquet(
        events / "3.parquet"
    )
    reading = {"user_column": "customer", "item_column": "sku"}
    with pytest.raises(UnknownIdError, match="99"):
        recommend_on_ray(folder / "model", tmp_path / "new", events, reading=reading)
    job = {"on_unknown": "skip", "k": 2, "reading": reading}
    recommend_on_ray(folder / "model", tmp_path / "new", events, **job)
    found = polars.read_parquet(tmp_path / "new" / "parts")
    assert len(found) == 2 * (train.num_users + 2)
    nothing_known = Recommender.load(folder / "model").recommend([], k=2).items[0]
    last = found.filter(polars.col("user_id") == "none")
    assert last["item_id"].to_list() == nothing_known.tolist()


@pytest.mark.once
@pytest.mark.parametrize(
    ("model", "options", "error", "text"),
    [
        ("model", {}, ValueError, "keeps no histories"),
        ("none", {}, FileNotFoundError, "There is no folder"),
        ("kept", {"num_workers": 0}, ValueError, "`num_workers` must be .* >= 1"),
        ("kept", {"shard_size": 0.5}, ValueError, "`shard_size` must be .* >= 1"),
        ("kept", {"histories": "none"}, FileNotFoundError, "There is no folder"),
    ],
)
def test_bad_arguments_are_named(folder, tmp_path, model, options, error, text):
    with pytest.raises(error, match=text):
        recommend_on_ray(folder / model, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.once
def test_a_wrong_option_may_be_mended(cluster, folder, tmp_path):
    arguments = (folder / "kept", tmp_path / "out")
    with pytest.raises(RuntimeError, match="`k` must be an integer >= 1"):
        recommend_on_ray(*arguments, k=0)
    assert recommend_on_ray(*arguments, k=1) > 0


@pytest.mark.once
def test_without_ray_or_a_cluster(folder, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with pytest.raises(ConnectionError, match=rf"No Ray cluster .* {address}"):
        recommend_on_ray(folder / "kept", tmp_path / "out", address=address)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"keras_multvae\[ray\]"):
        recommend_on_ray(folder / "kept", tmp_path / "out")


@pytest.mark.once
@pytest.mark.parametrize(
    ("nodes", "workers", "each"),
    [([0, 8, 8], None, 8), ([8, 8], 4, 4), ([16, 4], 2, 4), ([2], 5, 1), ([0], 2, 1)],
)
def test_processors_a_worker(nodes, workers, each):
    class FakeRay:
        @staticmethod
        def nodes():
            alive = [{"Alive": True, "Resources": {"CPU": float(n)}} for n in nodes]
            return [*alive, {"Alive": False, "Resources": {"CPU": 1.0}}]

    assert on_ray.processors(FakeRay, workers) == each


@pytest.mark.once
@pytest.mark.slow
def test_a_shard_that_kills_its_workers_comes_to_an_end(
    cluster, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(on_ray, "RETRIES", 1)
    monkeypatch.setattr(on_ray, "_fill", lambda *_: os._exit(1))
    with pytest.raises(RuntimeError, match=r"Shard 0 .* failed: WorkerCrashedError"):
        recommend_on_ray(folder / "kept", tmp_path / "out")


DRIVER = """
import json, sys
from keras_multvae import recommend_on_ray
model, out, address, job = sys.argv[1:]
recommend_on_ray(model, out, address=address, **json.loads(job))
"""


@pytest.mark.once
@pytest.mark.slow
def test_a_driver_that_is_killed(cluster, folder, tmp_path):
    out = tmp_path / "out"
    arguments = [str(folder / "kept"), str(out), cluster.address, json.dumps(LONG)]
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *arguments])
    wait_until(lambda: len(parts(out)) >= 5, lambda: driver.poll() is None)
    driver.kill()
    driver.wait()
    wait_until(nobody_at_work(cluster), lambda: True)
    done = times(out)
    assert len(done) < shards(folder, LONG) and not is_complete(out)
    recommend_on_ray(folder / "kept", out, **LONG)
    # But for those of which a worker was killed before it had noted the sum.
    assert len(done.items() - times(out).items()) <= 2
    table = polars.read_parquet(out / "parts")
    assert_frame_equal(table, single(folder, tmp_path / "single.parquet", LONG))


@pytest.mark.once
def test_everybody_of_a_prepared_folder_although_a_node_is_killed(
    cluster, folder, tmp_path
):
    """Last, as one node is left."""
    out = tmp_path / "out"
    arguments = (folder / "model", out, folder / "prepared")
    thread, found = in_background(*arguments, **LONG)
    busy = []

    def both_at_work():
        busy[:] = filter(at_work, cluster.worker_nodes)
        return parts(out) and len(busy) == 2

    wait_until(both_at_work, thread.is_alive)
    cluster.remove_node(busy[0], allow_graceful=False)
    assert len(parts(out)) < shards(folder, LONG) and not is_complete(out)
    thread.join()
    table = polars.read_parquet(out / "parts")
    assert found == [len(table)]
    assert len(parts(out)) == shards(folder, LONG) and is_complete(out)
    train = load_prepared(folder / "prepared").split.train
    assert table["user_id"].unique().sort().to_list() == train.users.ids.tolist()
    assert_frame_equal(table, single(folder, tmp_path / "single.parquet", LONG))
