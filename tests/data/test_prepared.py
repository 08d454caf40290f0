"""The prepared folder: what docs/format.md says, and that nothing is ever lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import contents
from scipy import sparse

from keras_multvae.data import (
    FoldIn,
    Interactions,
    Split,
    UserBatches,
    Vocabulary,
    leave_last_out,
    load_interactions,
    load_prepared,
    prepared,
    save_interactions,
    save_prepared,
    strong_generalization,
)
from keras_multvae.files import DamagedFileError

pytestmark = pytest.mark.once

FIXTURE = Path(__file__).parent / "fixtures" / "prepared_v1"


def make_split(kind=str, seed=0):
    """What the committed folder of version 1 was made from (kind=str, seed=0)."""
    rng = np.random.default_rng(seed)
    users, items = np.divmod(rng.permutation(12 * 10)[:100], 10)
    events = Interactions.from_events(
        users,
        [kind(f"{item}") for item in items.tolist()],
        values=rng.integers(1, 4, 100),
        timestamps=rng.integers(10**9, 10**9 + 1000, 100),
    )
    clicks = Interactions(
        events.matrix,
        events.users,
        events.items,
        events.timestamps,
        events.positions,
        np.arange(12) / 4,
        events.counts,
    )
    return strong_generalization(clicks, 2, 3)


TITLES = {"3": "Drei", "5": "Füünf", "77": "no such item"}
SETTINGS = {"source": "a test", "min_rating": None}


def parts(split):
    yield split.train
    for fold_in in (split.validation, split.test):
        if fold_in is not None:
            yield fold_in.input
            yield fold_in.targets


def assert_same_interactions(left, right):
    assert left.users == right.users
    assert left.items == right.items
    assert left.counts == right.counts
    for name in ("data", "indices", "indptr"):
        a, b = getattr(left.matrix, name), getattr(right.matrix, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    for name in ("timestamps", "positions", "user_weights"):
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def assert_same_split(left, right):
    assert left.settings == right.settings
    for a, b in zip(parts(left), parts(right), strict=True):
        assert_same_interactions(a, b)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("kind", [int, str])
def test_round_trip(tmp_path, kind, mmap):
    split = make_split(kind)
    titles = {kind(i): title for i, title in TITLES.items()}
    save_prepared(split, tmp_path / "out", titles, SETTINGS)
    prepared = load_prepared(tmp_path / "out", mmap=mmap)
    assert_same_split(prepared.split, split)
    assert prepared.titles == {kind("3"): "Drei", kind("5"): "Füünf"}
    assert prepared.manifest["settings"] == SETTINGS
    assert prepared.manifest["split"]["source_counts"]["events"] == 100


def test_round_trip_of_what_may_be_absent(tmp_path):
    clicks = Interactions.from_matrix(sparse.csr_matrix(np.ones((3, 2))))
    nothing = FoldIn(clicks, clicks.select_entries(np.zeros(6, bool)))
    split = Split(clicks, None, nothing)
    save_prepared(split, tmp_path / "out")
    for mmap in (True, False):
        prepared = load_prepared(tmp_path / "out", mmap=mmap)
        assert prepared.split.validation is None
        assert prepared.split.test.targets.num_entries == 0
        assert prepared.titles == {}
        assert_same_split(prepared.split, split)


def test_users_in_several_parts(tmp_path):
    rng = np.random.default_rng(1)
    users, items = np.divmod(rng.choice(80, 60, replace=False), 10)
    clicks = Interactions.from_events(users, items, timestamps=rng.random(60) * 99)
    split = leave_last_out(clicks)
    save_prepared(split, tmp_path / "out")
    assert_same_split(load_prepared(tmp_path / "out").split, split)


def test_arrays_stay_on_disk(tmp_path):
    save_prepared(make_split(), tmp_path / "out")
    loaded = load_prepared(tmp_path / "out", mmap=True).split
    for part in parts(loaded):
        for array in (part.matrix.data, part.matrix.indices, part.timestamps):
            assert isinstance(array, np.memmap)
            with pytest.raises(ValueError, match="read-only"):
                array[:1] = 0
    # Neither SciPy's own work nor the batches copy the matrix as a whole.
    matrix = loaded.train.matrix
    assert matrix.tocsr() is matrix
    assert np.shares_memory(UserBatches(loaded.train).inputs.data, matrix.data)
    expected = make_split().train.matrix
    ones = np.ones(matrix.shape[1], "float32")
    np.testing.assert_array_equal(matrix @ ones, expected @ ones)
    np.testing.assert_array_equal(matrix[[2, 0]].toarray(), expected[[2, 0]].toarray())
    in_memory = load_prepared(tmp_path / "out", mmap=False).split.train.matrix
    assert not isinstance(in_memory.data, np.memmap)


def test_the_same_split_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_prepared(make_split(), tmp_path / name, TITLES, SETTINGS)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert str(tmp_path) not in (tmp_path / "a" / "manifest.json").read_text()


def test_version_1_still_loads_and_is_still_written(tmp_path):
    prepared = load_prepared(FIXTURE)
    assert_same_split(prepared.split, make_split())
    assert prepared.titles == {"3": "Drei", "5": "Füünf"}
    assert prepared.manifest["version"] == 1
    save_prepared(make_split(), tmp_path / "out", TITLES, SETTINGS)
    written, before = contents(tmp_path / "out"), contents(FIXTURE)
    manifests = [json.loads(each.pop("manifest.json")) for each in (written, before)]
    assert written == before
    # Sums have come since.
    assert manifests[0].pop("files").keys() == written.keys() - {"test", "train"}
    assert len(manifests[0].pop("sha256")) == 64
    assert manifests[0] == manifests[1]


def test_the_folder_is_as_docs_format_says():
    """Reads the fixture with json and numpy alone, by the words of docs/format.md."""
    manifest = json.loads((FIXTURE / "manifest.json").read_text("utf-8"))
    assert (manifest["format"], manifest["version"]) == ("keras_multvae.prepared", 1)
    items = json.loads((FIXTURE / "items.json").read_text("utf-8"))
    assert (items["format"], items["kind"]) == ("keras_multvae.vocabulary", "str")
    titles = json.loads((FIXTURE / "titles.json").read_text("utf-8"))["titles"]
    named = dict(zip(items["ids"], titles, strict=True))
    assert named["5"] == "Füünf" and named["0"] is None
    sides = ("validation/input", "validation/targets", "test/input", "test/targets")
    expected = dict(zip(("train", *sides), parts(make_split()), strict=True))
    assert manifest["parts"].keys() == expected.keys()
    for name, interactions in expected.items():
        record = manifest["parts"][name]
        arrays = {n: np.load(FIXTURE / name / f"{n}.npy") for n in record["arrays"]}
        for array, described in record["arrays"].items():
            assert arrays[array].dtype.str == described["dtype"]
            assert list(arrays[array].shape) == described["shape"]
        users_file = FIXTURE / name.partition("/")[0] / "users.json"
        users = json.loads(users_file.read_text("utf-8"))["ids"]
        dense = np.zeros((record["users"], record["items"]))
        for row in range(len(users)):
            start, end = arrays["indptr"][row], arrays["indptr"][row + 1]
            dense[row, arrays["indices"][start:end]] = arrays["data"][start:end]
        assert users == interactions.users.ids.tolist()
        np.testing.assert_array_equal(dense, interactions.matrix.toarray())


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "prepared")
    return tmp_path / "prepared"


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes))


DAMAGE = {
    "no manifest": (
        lambda f: (f / "manifest.json").unlink(),
        "manifest.json is missin",
    ),
    "cut manifest": (lambda f: cut(f / "manifest.json"), "no valid JSON"),
    "foreign manifest": (
        lambda f: (f / "manifest.json").write_text('{"name": "npm"}'),
        "not written by keras_multvae",
    ),
    "newer version": (
        lambda f: edit(f / "manifest.json", version=2),
        "version 2 .* reads up to version 1. Install a newer",
    ),
    "no parts": (lambda f: edit(f / "manifest.json", parts=None), "lists no parts"),
    "odd parts": (
        lambda f: edit(f / "manifest.json", parts={"train": []}),
        "does not describe the part 'train'",
    ),
    "cut array": (lambda f: cut(f / "test/input/data.npy"), "data.npy is truncated"),
    "empty array": (
        lambda f: (f / "train/indices.npy").write_bytes(b""),
        "indices.npy is truncated",
    ),
    "cut header": (
        lambda f: (f / "train/indptr.npy").write_bytes(b"\x93NUMPY\x01\x00v"),
        "indptr.npy is truncated",
    ),
    "missing array": (
        lambda f: (f / "train/indptr.npy").unlink(),
        "indptr.npy is missing",
    ),
    "array of another type": (
        lambda f: np.save(f / "train/data.npy", np.ones(3)),
        "'<f8'.* while the manifest says .*'<f4'",
    ),
    "pickled array": (
        lambda f: np.save(f / "train/data.npy", np.array([{}]), allow_pickle=True),
        "data.npy is truncated or no .npy array",
    ),
    "missing ids": (lambda f: (f / "items.json").unlink(), "items.json is missing"),
    "other ids": (
        lambda f: Vocabulary(["a"]).save(f / "items.json"),
        "do not fit together.*1 ids",
    ),
    "cut ids": (lambda f: cut(f / "test/users.json"), "no valid JSON"),
    "wrong end of rows": (
        lambda f: np.save(f / "train/indptr.npy", np.load(f / "train/indptr.npy") - 1),
        "indptr.npy is damaged: `indptr` falls",
    ),
    "missing titles": (lambda f: (f / "titles.json").unlink(), "titles.json is miss"),
    "short titles": (
        lambda f: edit(f / "titles.json", titles=["one"]),
        "one title, or null, for each of 10 items",
    ),
    "bad weights": (
        lambda f: np.save(f / "train/user_weights.npy", np.full(7, -1, "float32")),
        "damaged: `user_weights`",
    ),
}


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_and_foreign_folders(folder, case, mmap):
    damage, text = DAMAGE[case]
    damage(folder)
    with pytest.raises(DamagedFileError, match=text):
        load_prepared(folder, mmap=mmap)


def test_a_folder_of_another_kind(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_prepared(tmp_path / "nowhere")
    with pytest.raises(DamagedFileError, match=r"keras_multvae.prepared"):
        load_interactions(folder)


def test_a_full_disk_leaves_the_old_folder(folder, monkeypatch):
    before = contents(folder.parent)
    save, calls = prepared.save_array, []

    def failing(file, *args):
        calls.append(file)
        if len(calls) == 4:
            file.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file, *args)

    monkeypatch.setattr(prepared, "save_array", failing)
    with pytest.raises(OSError, match="No space left"):
        save_prepared(make_split(seed=1), folder)
    with pytest.raises(OSError, match="No space left"):
        calls.clear()
        save_prepared(make_split(seed=1), folder.parent / "new")
    assert len(calls) == 4
    assert contents(folder.parent) == before
    assert [path.name for path in folder.parent.iterdir()] == ["prepared"]


def test_a_kill_in_mid_write_leaves_the_old_folder(folder):
    script = """
import os, signal, sys
from keras_multvae.data import Interactions, Split, prepared, save_prepared

def killed(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

clicks = Interactions.from_events([1, 1, 2], [1, 2, 2])
if sys.argv[2] == "kill":
    prepared.save_array = killed
save_prepared(Split(clicks), sys.argv[1])
"""
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])}

    def write(how):
        return subprocess.run(
            [sys.executable, "-c", script, str(folder), how],
            env=environment,
            capture_output=True,
            check=False,
        )

    assert write("kill").returncode == -signal.SIGKILL
    assert contents(folder) == contents(FIXTURE)
    assert write("finish").returncode == 0
    assert load_prepared(folder).split.train.num_users == 2


def test_nothing_but_a_prepared_folder_is_replaced(tmp_path):
    split = make_split()
    (tmp_path / "notes.txt").write_text("mine")
    save_interactions(split.train, tmp_path / "interactions")
    for target in (tmp_path, tmp_path / "notes.txt", tmp_path / "interactions"):
        with pytest.raises(FileExistsError, match="will not be replaced"):
            save_prepared(split, target)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        save_prepared(split, tmp_path / "empty")
    assert_same_split(load_prepared(tmp_path / "empty").split, split)


def test_titles_of_no_item_are_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="of type str; received ids like 3"):
        save_prepared(make_split(), tmp_path / "out", {3: "Drei"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mmap", [True, False])
def test_interactions_folder(tmp_path, mmap):
    clicks = make_split().train
    folder = tmp_path / "clicks"
    save_interactions(clicks, folder)
    assert_same_interactions(load_interactions(folder, mmap=mmap), clicks)
    save_interactions(clicks.select_users([0]), folder)
    assert load_interactions(folder, mmap=mmap).num_users == 1
    cut(folder / "data.npy")
    with pytest.raises(DamagedFileError, match=r"data.npy is truncated"):
        load_interactions(folder, mmap=mmap)
