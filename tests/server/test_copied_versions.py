"""Versions that are copied slowly, damaged on the way, or block whoever reads them."""

from __future__ import annotations

import os
import shutil
import threading
import time

import pytest
from server.asking import PREDICT, check, eventually, reason, states

from keras_multvae.serving import versions, whole

pytestmark = pytest.mark.once
ASK = {"instances": [["f1"]]}


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("listed", [True, False])
def test_a_slow_copy_is_served_once_it_is_whole(served, running, films, listed):
    """The SavedModel comes first, what the page and the warm-up need much later."""
    source, target = served.folder / "2", films / "2"
    last = [path for path in files_of(source) if "assets.extra" in path.parts]
    first = [path for path in files_of(source) if path not in last]
    last.remove(source / whole.FILES)
    if listed:
        first.insert(0, source / whole.FILES)
    with running(films) as client:
        for path in [*first, *last]:
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes()
            for part in (content[: len(content) // 2], content):
                assert states(client)["1"] == "AVAILABLE"
                assert states(client).get("2") in (None, "LOADING")
                place.write_bytes(part)
                time.sleep(0.06)  # A look at the folder, and more.
        eventually(lambda: states(client).get("2") == "AVAILABLE")
        found = client.post(PREDICT, json=ASK).json()["predictions"][0]
        check(served.newer, ["f1"], found)
        assert client.get("/api/model").json()["version"] == 2


def test_a_flipped_bit_is_found(served, running, films):
    damaged = {}
    for number, path in enumerate(files_of(served.folder / "2"), 2):
        folder = films / str(number)
        shutil.copytree(served.folder / "2", folder)
        place = folder / path.relative_to(served.folder / "2")
        content = bytearray(place.read_bytes())
        content[len(content) // 2] ^= 16
        place.write_bytes(content)
        damaged[str(number)] = path.name
    with running(films) as client:
        eventually(lambda: all(states(client)[each] == "END" for each in damaged))
        assert states(client)["1"] == "AVAILABLE"
        for number, name in damaged.items():
            text = reason(client, number)
            assert name in text or name == "files.json"


def test_a_list_of_files_is_no_way_out(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    for content, text in (
        ('{"format_version": 1, "files": {"/etc/passwd": {"size": 1, "sha256": ""}}}',
         "outside"),
        ('{"format_version": 1, "files": {"../x": {"size": 1, "sha256": ""}}}',
         "outside"),
        ('{"format_version": 9, "files": {}}', "newer keras_multvae"),
        ("[]", "not of the form"),
        ('{"format_version": 1, "files": {"x": 5}}', "not of the form"),
        ('{"format_version"', "not whole"),
    ):  # fmt: skip
        (tmp_path / whole.FILES).write_text(content)
        with pytest.raises(whole.NotAVersionError, match=text):
            whole.check_whole(tmp_path)


@pytest.mark.parametrize("place", ["saved_model.pb", "assets.extra/catalogue.json"])
def test_pipes_and_devices_block_nobody(served, running, films, place):
    for number in ("2", "3"):
        shutil.copytree(served.folder / "2", films / number)
        (films / number / place).unlink()
    os.mkfifo(films / "2" / place)
    (films / "3" / place).symlink_to("/dev/zero")
    os.mkfifo(films / "4")
    with running(films) as client:
        eventually(lambda: states(client) == {"3": "END", "2": "END", "1": "AVAILABLE"})
        assert "no regular file" in reason(client, "2")
        shutil.copytree(served.folder / "2", films / "5")
        eventually(lambda: states(client).get("5") == "AVAILABLE")


def stalls(monkeypatch, name, version):
    """A step of loading that hangs for a version until the event is set."""
    from keras_multvae.server import versions as manager

    over, function = threading.Event(), getattr(manager, name)

    def stalled(path):
        if path.name == version:
            over.wait(60)
        return function(path)

    monkeypatch.setattr(manager, name, stalled)
    monkeypatch.setattr(manager, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(manager, "LOAD_SECONDS", 2.0)
    return over


def test_a_mount_that_does_not_answer_blocks_nobody(
    served, running, films, monkeypatch
):
    """Neither the version before it, nor one after it, nor the end."""
    looks = stalls(monkeypatch, "look_at", "3")
    loads = stalls(monkeypatch, "load", "4")
    for number in ("3", "4"):
        shutil.copytree(served.folder / "2", films / number)
    try:
        with running(films) as client:
            eventually(
                lambda: states(client) == {"4": "LOADING", "3": "END", "1": "AVAILABLE"}
            )
            assert "takes long" in reason(client, "4")
            assert "does not answer" in reason(client, "3")
            assert client.post(PREDICT, json=ASK).status_code == 200
            shutil.copytree(served.folder / "2", films / "5")
            eventually(lambda: states(client).get("5") == "AVAILABLE")
            loads.set()
            # What comes back late is not served instead of what is newer.
            eventually(lambda: states(client).get("4") != "LOADING")
            assert states(client)["5"] == "AVAILABLE"
    finally:
        looks.set()
        loads.set()


def test_a_version_that_takes_long_is_served_in_the_end(
    served, running, films, monkeypatch
):
    loads = stalls(monkeypatch, "load", "2")
    shutil.copytree(served.folder / "2", films / "2")
    try:
        with running(films) as client:
            eventually(lambda: states(client) == {"2": "LOADING", "1": "AVAILABLE"})
            loads.set()
            eventually(lambda: states(client) == {"2": "AVAILABLE", "1": "END"})
            found = client.post(PREDICT, json=ASK).json()["predictions"][0]
            check(served.newer, ["f1"], found)
    finally:
        loads.set()


def test_numbers_that_are_no_versions(running, films, served):
    for name in (str(2**63), "9" * 200, "1.5", "-2"):
        shutil.copytree(served.folder / "2", films / name)
    assert versions.next_version(films) == 2
    assert list(versions.versions_in(films)) == [1]
    shutil.copytree(served.folder / "2", films / str(2**63 - 1))
    with running(films) as client:
        assert states(client) == {str(2**63 - 1): "AVAILABLE"}
