"""Samples of the attacks of benchmarks/reliability on folders, and of two writers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import contents
from scipy import sparse

from benchmarks.reliability import folders, forging
from benchmarks.reliability.bits import DAMAGE
from benchmarks.reliability.indices import without_sums
from keras_multvae import EASE, Popularity, Recommender
from keras_multvae.cli import main
from keras_multvae.data import (
    Interactions,
    UserBatches,
    load_interactions,
    load_prepared,
    save_interactions,
)
from keras_multvae.files import (
    DamagedFileError,
    FolderInUseError,
    check_files,
    lock,
    read_json,
    replace_file,
    replace_folder,
    replacing,
    sweep,
)
from keras_multvae.files.locks import SILENCE
from keras_multvae.serving.versions import claimed

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    folders.make(folder, ("prepared", "interactions", "ease", "recommendations"))
    return folder


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made / "prepared", tmp_path / "prepared")
    return tmp_path / "prepared"


@pytest.mark.parametrize("kind", ["prepared", "interactions", "ease"])
def test_no_damage_passes_unseen(made, tmp_path, kind):
    wanted = folders.digest(kind, made / kind)
    for number in range(60):
        rng = np.random.default_rng(number)
        damage = ("bit", "bit", "cut", "gone", "pipe")[number % 5]
        shutil.rmtree(tmp_path / kind, ignore_errors=True)
        shutil.copytree(made / kind, tmp_path / kind)
        files = sorted(f for f in (tmp_path / kind).rglob("*") if f.is_file())
        file = files[rng.integers(len(files))]
        DAMAGE[damage](tmp_path / kind, file, rng)
        try:
            assert folders.digest(kind, tmp_path / kind) == wanted, file
        except DamagedFileError as error:
            assert file.name in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("signed", [True, False], ids=["signed again", "without sums"])
@pytest.mark.parametrize(
    ("array", "at", "value"),
    [
        ("indices", 3, 24),
        ("indices", 3, -1),
        ("indices", 1, 0),
        ("indptr", 5, -7),
        ("indptr", 0, 1),
        ("data", 0, np.nan),
        ("data", 0, 0),
        ("data", 0, np.inf),
        ("data", 0, 3e38),
        ("data", 0, 1e-40),
        ("fractions", 0, 10**9),
        ("positions", 0, -1),
        ("user_weights", 0, -1),
    ],
)
def test_what_must_not_be_is_refused_before_it_is_used(copy, array, at, value, signed):
    file = copy / "train" / f"{array}.npy"
    values = np.load(file)
    values[at] = value
    if (array, at) == ("indices", 1):
        values[at] = values[0]
    forging.write(file, values)
    forging.sign(copy)
    if not signed:
        without_sums(copy)
    for mmap in (True, False):
        with pytest.raises(DamagedFileError) as error:
            load_prepared(copy, mmap=mmap)
        assert "train" in str(error.value) and "\n" not in str(error.value)


def test_forged_manifests_and_headers(copy, tmp_path):
    """Absolute paths, other folders, headers and JSON that are nested without end."""
    manifest = copy / "manifest.json"
    whole = json.loads(manifest.read_text())
    arrays = whole["parts"]["train"]["arrays"]
    for name in ("/etc/passwd", "../users", "a/b"):
        whole["parts"]["train"]["arrays"] = {**arrays, name: arrays["data"]}
        manifest.write_text(json.dumps(whole | {"sha256": ""}))
        forging.sign(copy)
        with pytest.raises(DamagedFileError, match="does not describe the part"):
            load_prepared(copy)
    for name in ("/etc/passwd", "../x", "a/../../x"):
        files = {"files": {name: {"bytes": 0, "sha256": ""}}}
        with pytest.raises(DamagedFileError, match="list of files"):
            check_files(copy, files)
    manifest.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(DamagedFileError, match=r"manifest\.json is no valid JSON"):
        load_prepared(copy)
    save_interactions(folders.split_of().train, tmp_path / "clicks")
    file = tmp_path / "clicks" / "data.npy"
    for header in forging.HEADERS:
        text = header.encode()
        file.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        with pytest.raises(DamagedFileError, match=r"data\.npy is truncated or no"):
            load_interactions(tmp_path / "clicks")


def test_a_folder_of_before_has_no_sums_and_loads(copy):
    expected = folders.digest("prepared", copy)
    without_sums(copy)
    found = load_prepared(copy)
    assert "files" not in found.manifest
    assert folders.digest("prepared", copy) != expected  # the manifest is another
    np.testing.assert_array_equal(
        found.split.train.matrix.toarray(), folders.split_of().train.matrix.toarray()
    )


def test_a_file_that_is_cut_while_it_is_mapped(copy):
    train = load_prepared(copy).split.train
    os.truncate(copy / "train" / "indices.npy", 200)
    for model in (EASE(train.num_items), Popularity(train.num_items)):
        with pytest.raises(OSError, match="has become shorter"):
            model.fit(train)


def test_verify(made, copy, capsys):
    assert main(["verify", str(made)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split(",")[0] for line in lines] == [
        "recommender",
        "interactions folder",
        "prepared folder",
        "recommendations",
    ]
    assert all(line.endswith("all whole.") for line in lines)
    DAMAGE["bit"](copy, copy / "test" / "input" / "data.npy", np.random.default_rng(0))
    assert main(["verify", str(copy)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "test/input/data.npy is damaged" in line
    assert main(["verify", str(copy.parent)]) == 1
    assert main(["verify", str(copy / "test" / "input")]) == 1
    assert "no folder of this package" in capsys.readouterr().err


# Without the package's __init__, which would import Keras.
HOLDER = """
import sys, time, types
from pathlib import Path
package = sys.modules["keras_multvae"] = types.ModuleType("keras_multvae")
package.__path__ = [sys.argv[2]]
from keras_multvae.files import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_writer_at_a_time(tmp_path):
    folder = tmp_path / "out"
    package = str(ROOT / "keras_multvae")
    command = [sys.executable, "-c", HOLDER, str(folder), package]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        text = f"being written by process {holder.pid} on {socket.gethostname()}: wait"
        with pytest.raises(FolderInUseError, match=text), replace_folder(folder):
            pytest.fail("two writers")
        holder.send_signal(signal.SIGKILL)
    # It is gone, and so is its lock.
    with replace_folder(folder) as temporary:
        (temporary / "a").write_text("a")
        # A thread is another writer, what this one calls is not.
        with (
            lock(folder),
            ThreadPoolExecutor(1) as threads,
            pytest.raises(FolderInUseError),
        ):
            threads.submit(lock(folder).__enter__).result()
    assert contents(tmp_path) == {"out/a": b"a"}


def test_a_folder_is_one_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("folder")
    with lock(Path("folder")), lock(tmp_path / "folder"), lock(Path("link")):
        assert [file.name for file in tmp_path.glob(".*")] == [".folder.lock"]
    assert not list(tmp_path.glob(".*"))


def test_a_lock_of_another_host_goes_by_its_sign_of_life(tmp_path):
    file = tmp_path / ".out.lock"
    file.write_text(json.dumps({"host": "far", "machine": "far", "process": 1}))
    with pytest.raises(FolderInUseError, match="process 1 on far"):
        lock(tmp_path / "out").__enter__()
    silent = time.time() - SILENCE - 1
    os.utime(file, (silent, silent))
    with lock(tmp_path / "out"):
        assert json.loads(file.read_text())["process"] == os.getpid()
    assert not file.exists()


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced_and_leftovers_go(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(replacing, "exchange", lambda *_: False)
    folder = tmp_path / "out"
    for text in ("old", "new"):
        (tmp_path / ".out.0123abcd.unfinished").mkdir()
        (tmp_path / ".out.settings").write_text("mine")
        with replace_folder(folder) as temporary:
            (temporary / "a").write_text(text)
    assert contents(tmp_path) == {"out/a": b"new", ".out.settings": b"mine"}
    # A kill between the two renames; the next reader or writer puts it back.
    folder.rename(tmp_path / ".out.0123abcd.replaced")
    assert replacing.existing_folder(folder) == folder
    folder.rename(tmp_path / ".out.0123abcd.replaced")
    sweep(tmp_path)
    assert (folder / "a").read_text() == "new"


def test_what_is_written_within_an_unfinished_folder_has_no_other_name(tmp_path):
    """So a kill leaves nothing that the next writer of the folder would not find."""
    with replace_folder(tmp_path / "out") as temporary:
        with replace_folder(temporary) as same, replace_folder(same / "part") as part:
            (part / "a").write_text("new")
            (same / "b").write_text("new")
            inside = [each.name for each in tmp_path.rglob("*")]
        assert (same, part) == (temporary, temporary / "part")
        assert sorted(inside) == sorted([".out.lock", temporary.name, "part", "a", "b"])
    assert contents(tmp_path) == {"out/part/a": b"new", "out/b": b"new"}


def test_a_lock_that_a_kill_left_alone_is_swept(tmp_path):
    (tmp_path / ".out.lock").touch()
    with lock(tmp_path / "held"):
        sweep(tmp_path)
        assert [each.name for each in tmp_path.iterdir()] == [".held.lock"]


def test_links_are_followed_and_devices_refused(tmp_path):
    real = tmp_path / "disk" / "real"
    with replace_folder(real) as temporary:
        (temporary / "a").write_text("old")
    (tmp_path / "link").symlink_to(real)
    with replace_folder(tmp_path / "link") as temporary:
        (temporary / "a").write_text("new")
    assert (tmp_path / "link").is_symlink() and (real / "a").read_text() == "new"
    (tmp_path / "file").symlink_to(tmp_path / "disk" / "file")
    with replace_file(tmp_path / "file") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "disk" / "file").read_text() == "x"
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "s"))
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "s", "null"):
        for replace in (replace_file, replace_folder):
            with pytest.raises(FileExistsError, match="will not be replaced"):
                replace(tmp_path / name).__enter__()
    assert Path("/dev/null").is_char_device()
    with pytest.raises(DamagedFileError, match="is a pipe or a device"):
        read_json(tmp_path / "pipe")
    (tmp_path / "plain").write_text("mine")
    with pytest.raises(FileExistsError, match="is no folder"):
        replace_folder(tmp_path / "plain").__enter__()


def test_versions_are_claimed(tmp_path):
    """Exports at the same time have numbers of their own; a kill leaves none behind."""
    model = tmp_path / "model"
    model.mkdir()
    (model / ".1.0123abcd.unfinished").mkdir()
    (model / ".7.0123abcd.removed").mkdir()

    def claim(version):
        with claimed(model, version) as number:
            return number

    with claimed(model, None) as first, ThreadPoolExecutor(1) as other:
        assert (first, other.submit(claim, None).result()) == (1, 2)
        with pytest.raises(FolderInUseError):
            other.submit(claim, 1).result()
        (model / "1").mkdir()
    with pytest.raises(FileExistsError, match="a served version never changes"):
        claim(1)
    assert claim(None) == 2
    assert [each.name for each in model.iterdir()] == ["1"]


@pytest.mark.parametrize("value", [3e38, 1.1e12, 1e-13, 1e-45])
def test_values_at_the_ends_of_float32(value):
    matrix = sparse.csr_matrix([[1, value], [0, 1]])
    for door in (Interactions.from_matrix, UserBatches, EASE(2).fit):
        with pytest.raises(ValueError, match=r"1e-12 to 1e\+12"):
            door(matrix)
    with pytest.raises(ValueError, match="1e-12 to 1e"):
        Interactions.from_events([1, 2], [1, 2], values=[1, value])
    # Sums may become too large, too.
    with pytest.raises(ValueError, match="1e-12 to 1e"):
        Interactions.from_events(
            [1, 1], [1, 1], values=[9e11, 9e11], duplicates="count"
        )


def test_a_baseline_without_room_for_doubt(made, tmp_path):
    """Arrays of a model that is signed again, or of before."""
    shutil.copytree(made / "ease", tmp_path / "ease")
    np.savez(tmp_path / "ease" / "model.npz", weights=np.zeros((3, 24)), l2=1.0)
    forging.sign(tmp_path / "ease")
    with pytest.raises(DamagedFileError, match=r"model\.npz holds no EASE model"):
        Recommender.load(tmp_path / "ease")
