"""Data larger than memory: the same bytes as from memory, and nothing left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import contents
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_multvae.cli import main
from keras_multvae.data import (
    Interactions,
    leave_last_out,
    read_interactions,
    save_prepared,
    strong_generalization,
    temporal_split,
)
from keras_multvae.data.columns import spilled
from keras_multvae.data.columns.mapped import is_mapped
from keras_multvae.data.ingest import events as events_module
from keras_multvae.data.vocabulary import as_ids

pytestmark = pytest.mark.once

SPLITS = {
    "strong": lambda clicks: strong_generalization(
        clicks, clicks.num_users // 4, clicks.num_users // 3
    ),
    "strong, all held out but one": lambda clicks: strong_generalization(
        clicks, 1, clicks.num_users - 2, min_items=2
    ),
    "temporal": lambda clicks: temporal_split(clicks, 60, 80),
    "last out": leave_last_out,
}


@pytest.fixture
def small(monkeypatch):
    """Sets how many rows stay in memory, and how many come in a chunk."""

    def set_limits(limit, chunk=50):
        monkeypatch.setattr(spilled, "LIMIT", limit)
        monkeypatch.setattr(spilled, "RUN", max(limit // 3, 1))
        for name in ("events", "frames", "files", "partitioning"):
            module = sys.modules[f"keras_multvae.data.ingest.{name}"]
            monkeypatch.setattr(module, "CHUNK", chunk)

    return set_limits


def write_events(folder, kind, size=600, seed=0):
    """Part files in which users and items come again and again."""
    rng = np.random.default_rng(seed)
    users = (60 * rng.random(size) ** 2).astype("int64")
    items = (90 * rng.random(size) ** 2).astype("int64")
    table = pl.DataFrame(
        {
            "user_id": users - 5 if kind != "text" else [f"ü{u}" for u in users],
            "item_id": items * 10**15 if kind != "text" else [f"i {i}" for i in items],
            "rating": rng.integers(1, 11, size) / 2,
            "value": rng.integers(0, 9, size) / 7,
            "time": np.sort(rng.integers(0, 100, size)),
        }
    )
    folder.mkdir()
    for part in range(5):
        rows = table[part * size // 5 : (part + 1) * size // 5]
        if kind == "csv":
            rows.write_csv(folder / f"{part}.csv")
        else:
            rows.write_parquet(folder / f"{part}.parquet", row_group_size=37)
    return folder


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", ["int", "text", "csv"])
def test_files_come_to_the_same_bytes(tmp_path, small, kind, split):
    source = write_events(tmp_path / "events", kind)
    for number, filters in enumerate(
        (
            {},
            {"min_rating": 3, "rating_column": "rating"},
            {"min_user_items": 9, "min_item_users": 4, "value_column": "value"},
            {"duplicates": "count", "min_item_users": 2},
            {"duplicates": "count", "value_column": "value", "min_user_items": 3},
        )
    ):
        found = []
        for limit in (10**9, 40):
            small(limit)
            clicks = read_interactions(source, timestamp_column="time", **filters)
            assert is_mapped(clicks.matrix.indices) == (limit < 10**9)
            out = tmp_path / f"{number}-{limit}"
            save_prepared(SPLITS[split](clicks), out)
            found.append(contents(out))
        assert found[0] == found[1]


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(-3, 9), st.integers(0, 9)), min_size=1),
    limit=st.integers(1, 40),
    run=st.integers(1, 20),
    chunk=st.integers(1, 30),
    minimum=st.integers(1, 3),
    weighted=st.booleans(),
    seed=st.integers(0, 9),
)
def test_any_events_come_to_the_same(pairs, limit, run, chunk, minimum, weighted, seed):
    values = np.random.default_rng(seed).random(len(pairs))

    def read():
        try:
            clicks = Interactions.from_events(
                *zip(*pairs, strict=True),
                values=values if weighted else None,
                min_user_items=minimum,
                min_item_users=minimum,
                duplicates="count",
            )
            split = strong_generalization(clicks, 0, clicks.num_users - 1)
        except ValueError as error:
            return str(error)
        return clicks.counts, [
            array.tobytes()
            for part in (clicks, split.train, split.test and split.test.targets)
            if part is not None
            for array in (
                part.matrix.indptr,
                part.matrix.indices,
                part.matrix.data,
                part.positions,
                part.users.ids,
                part.items.ids,
            )
        ]

    expected = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spilled, "LIMIT", limit)
        patch.setattr(spilled, "RUN", run)
        for name in ("events", "partitioning"):
            patch.setattr(
                sys.modules[f"keras_multvae.data.ingest.{name}"], "CHUNK", chunk
            )
        assert read() == expected


ARGUMENTS = ("--timestamp-column", "time", "--min-user-items", "3")


def test_the_command_works_beside_its_folder(tmp_path, small, monkeypatch):
    source = write_events(tmp_path / "events", "int")
    titles = tmp_path / "titles.csv"
    titles.write_text("item_id,title\n0,Zero\n1000000000000000,One\n")
    folders = set()
    temporary = spilled.tempfile.TemporaryFile

    def watched(dir, **options):
        folders.add(dir)
        return temporary(dir=dir, **options)

    monkeypatch.setattr(spilled.tempfile, "TemporaryFile", watched)
    found = []
    for limit in (10**9, 100):
        small(limit)
        out = tmp_path / "new" / str(limit) / "prepared"
        words = ["prepare", source, "--out", out, "--items", titles, *ARGUMENTS]
        assert main(list(map(str, words))) == 0
        assert list(out.parent.iterdir()) == [out]
        found.append(contents(out))
    assert folders == {out.parent}
    assert found[0] == found[1]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, small, monkeypatch, capsys):
    source = write_events(tmp_path / "events", "int")
    small(100)
    temporary = spilled.tempfile.TemporaryFile
    written = []

    def full(**options):
        file = temporary(**options)

        class Full:
            def __getattr__(self, name):
                return getattr(file, name)

            def write(self, content):
                written.append(len(content))
                if len(written) == 90:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return file.write(content)

        return Full()

    monkeypatch.setattr(spilled.tempfile, "TemporaryFile", full)
    out = tmp_path / "out" / "prepared"
    assert main(["prepare", str(source), "--out", str(out), *ARGUMENTS]) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error and str(out.parent) in error
    assert "Free some there, or write to another disk" in error
    assert len(written) == 90
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_end_at_any_time_leaves_nothing(tmp_path, how):
    source = write_events(tmp_path / "events", "int")
    script = """
import os, sys
from keras_multvae.data.columns import spilled
spilled.LIMIT, spilled.RUN = 100, 30
mapped = spilled.SpillFile.mapped

def ended(file):
    ended.calls = getattr(ended, "calls", 0) + 1
    if ended.calls == 9:
        os.kill(os.getpid(), int(sys.argv[1]))
    return mapped(file)

spilled.SpillFile.mapped = ended
from keras_multvae.cli import main
sys.exit(main(sys.argv[2:]))
"""
    root = Path(__file__).resolve().parents[3]
    out = tmp_path / "out" / "prepared"
    words = [how.value, "prepare", source, "--out", out, *ARGUMENTS]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
    )
    if how == signal.SIGINT:
        assert done.returncode == 1 and "interrupted" in done.stderr
    else:
        assert done.returncode == -how
    assert list(out.parent.iterdir()) == []


def test_what_is_made_of_arrays_in_memory_stays_there(small):
    clicks = Interactions.from_matrix(
        Interactions.from_events(range(50), range(50)).matrix
    )
    small(10)
    for made in (
        clicks.select_users(np.arange(30)),
        clicks.with_items(clicks.items),
        clicks.select_entries(np.ones(50, bool)),
    ):
        assert not is_mapped(made.matrix.indices)
    assert is_mapped(Interactions.from_events(range(50), range(50)).matrix.indices)


def test_runs_of_users(small):
    small(30)
    for sizes, expected in (
        ([], [0, 0]),
        ([0, 0], [0, 2]),
        ([10, 10, 10], [0, 3]),
        ([3, 7, 1, 9, 0, 11, 0, 2], [0, 2, 5, 6, 8]),
        ([31], [0, 1]),
    ):
        assert spilled.cuts(np.append(0, np.cumsum(sizes, dtype=int))) == expected


def test_ids_are_numbered_as_they_come():
    ids = events_module.IdEncoder("user")
    rng = np.random.default_rng(0)
    for strings in (False, True):
        ids, seen = events_module.IdEncoder("user"), {}
        for _ in range(20):
            chunk = rng.integers(-20, 60, 10) * 2**55
            chunk = list(map(str, chunk)) if strings else chunk
            codes = ids.encode(chunk, 0)
            for raw in set(map(str, chunk)) - set(seen):
                seen[raw] = int(codes[list(map(str, chunk)).index(raw)])
            assert [seen[str(raw)] for raw in chunk] == codes.tolist()
        places, unique = ids.sorted(as_ids)
        assert sorted(seen.values()) == list(range(len(seen)))
        assert unique.tolist() == sorted(unique.tolist())
        assert {str(unique[places[code]]): code for code in seen.values()} == seen
