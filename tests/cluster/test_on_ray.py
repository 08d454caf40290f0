"""Batch recommendation on a cluster of several nodes, all on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import polars
import pytest
from polars.testing import assert_frame_equal

from keras_multvae import MultVAE, Recommender, recommend_on_ray
from keras_multvae.cli import main
from keras_multvae.cluster import on_ray
from keras_multvae.data import Interactions, UnknownIdError, load_prepared
from keras_multvae.data.prepared import save_prepared
from keras_multvae.data.strong import strong_generalization

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

USERS, ITEMS, STORE = 1200, 30, 80 << 20
# Shards of two batches: as in one process, all batches have the same shape.
JOB = {"shard_size": 20, "k": 5, "batch_size": 10}


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


def single(folder, out, **options):
    """What one process answers."""
    train = load_prepared(folder / "prepared").split.train
    model = Recommender.load(folder / "model")
    recommender = Recommender(model.model, model.items, histories=train)
    options = {"k": JOB["k"], "batch_size": JOB["batch_size"], **options}
    recommender.recommend_to_parquet(out, **options)
    return polars.read_parquet(out)


def parts(out):
    return sorted((out / "parts").glob("part-*"))


def is_complete(out):
    return json.loads((out / "manifest.json").read_text())["complete"]


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


def wait_for_parts(out, count, running):
    """Until so many parts are there, of a job that `running` says is going on."""
    while len(parts(out)) < count:
        assert running(), "the job ended early"
        time.sleep(0.005)


def test_everybody_of_a_prepared_folder_although_a_node_is_killed(
    cluster, folder, tmp_path
):
    out = tmp_path / "out"
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    arguments = (folder / "model", out, folder / "prepared")
    thread, found = in_background(*arguments, **JOB)
    wait_for_parts(out, 5, thread.is_alive)
    cluster.remove_node(node, allow_graceful=False)
    shards = -(-load_prepared(folder / "prepared").split.train.num_users // 20)
    assert len(parts(out)) < shards and not is_complete(out)
    thread.join()
    table = polars.read_parquet(out / "parts")
    assert found == [len(table)]
    assert len(parts(out)) == shards and is_complete(out)
    assert_frame_equal(table, single(folder, tmp_path / "single.parquet"))
