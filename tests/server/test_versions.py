"""Versions of a served model come, go and fail while it answers."""

from __future__ import annotations

import shutil
import threading
import time

import pytest
from server.asking import PREDICT, check, error, eventually, reason, states

pytestmark = pytest.mark.once


def test_a_version_with_damaged_warm_up_is_not_served(served, running, films):
    shutil.copytree(served.folder / "2", films / "2")
    file = films / "2" / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(file.read_bytes()[:-3])
    with running(films) as client:
        eventually(lambda: states(client) == {"2": "END", "1": "AVAILABLE"})
        assert "bytes of" in reason(client, "2")
        # Without the list of files, TensorFlow says it.
        (films / "2" / "assets.extra" / "files.json").unlink()
        eventually(lambda: "bytes of" not in reason(client, "2"))
        eventually(lambda: states(client) == {"2": "END", "1": "AVAILABLE"})
        assert "Error" in reason(client, "2")


def test_a_new_version_takes_over_without_a_failed_request(served, running, films):
    """Asked without a pause while it happens, each answer is that of a version."""
    history, answers, over = ["f1", "f2"], [], threading.Event()

    def ask(client):
        while not over.is_set():
            answers.append(client.post(PREDICT, json={"instances": [history]}))

    with running(films) as client:
        asking = [threading.Thread(target=ask, args=[client]) for _ in range(3)]
        for each in asking:
            each.start()
        try:
            eventually(lambda: len(answers) > 20)
            # A damaged one meanwhile changes nothing.
            (films / "2").mkdir()
            (films / "2" / "saved_model.pb").write_bytes(b"no graph")
            eventually(lambda: states(client).get("2") == "END")
            damaged = client.get("/v1/models/films").json()["model_version_status"]
            shutil.copytree(served.folder / "2", films / "new")
            (films / "new").rename(films / "3")
            eventually(lambda: states(client)["1"] == "END")
            assert states(client) == {"3": "AVAILABLE", "2": "END", "1": "END"}
            count = len(answers)
            eventually(lambda: len(answers) > count + 20)
        finally:
            over.set()
            for each in asking:
                each.join()
    assert {answer.status_code for answer in answers} == {200}
    found = [answer.json()["predictions"][0] for answer in answers]
    old, new = (
        recommender.recommend(history, k=30).items[0].tolist()
        for recommender in (served.recommender, served.newer)
    )
    seen = [answer["item_ids"][: answer["valid"]] for answer in found]
    assert old != new
    assert seen[0] == old
    assert all(items in (old, new) for items in seen)
    check(served.newer, history, found[-1])
    bad, good = damaged
    assert (bad["version"], bad["state"]) == ("2", "END")
    assert bad["status"]["error_code"] == "UNKNOWN"
    assert bad["status"]["error_message"]
    assert (good["version"], good["state"]) == ("1", "AVAILABLE")


def test_a_damaged_version_is_tried_again_only_when_it_changes(
    served, running, films, monkeypatch
):
    from keras_multvae.server import servable

    loaded = []
    make = servable.LoadedModel
    monkeypatch.setattr(
        servable,
        "LoadedModel",
        lambda folder: loaded.append(folder.name) or make(folder),
    )
    (films / "2").mkdir()
    with running(films) as client:
        eventually(lambda: states(client) == {"2": "END", "1": "AVAILABLE"})
        time.sleep(0.3)  # Several looks at the folder.
        assert loaded == ["1", "2"]
        # Copied file by file, as it should not be, it is served once it is whole.
        shutil.copytree(served.folder / "2", films / "2", dirs_exist_ok=True)
        eventually(lambda: states(client) == {"2": "AVAILABLE", "1": "END"})
        assert "Specific(films, 1)" in error(
            client.post("/v1/models/films/versions/1:predict", content=b"{}"), 404
        )


def test_a_version_that_disappears(served, running, films):
    shutil.copytree(served.folder / "2", films / "2")
    ask = {"instances": [["f1"]]}
    with running(films) as client:
        check(
            served.newer,
            ["f1"],
            client.post(PREDICT, json=ask).json()["predictions"][0],
        )
        shutil.rmtree(films / "2")
        eventually(lambda: states(client).get("1") == "AVAILABLE")
        check(
            served.recommender,
            ["f1"],
            client.post(PREDICT, json=ask).json()["predictions"][0],
        )
        # The last one goes on from memory.
        shutil.rmtree(films)
        time.sleep(0.3)
        assert client.post(PREDICT, json=ask).status_code == 200
        assert states(client)["1"] == "AVAILABLE"


def test_without_a_version_that_loads_nothing_is_found(running, tmp_path):
    (tmp_path / "films" / "1").mkdir(parents=True)
    with running(tmp_path / "films") as client:
        assert "Latest(films)" in error(client.post(PREDICT, content=b"{}"), 404)
        assert states(client) == {"1": "END"}


def point(link, target):
    """Makes a link point elsewhere, at once, as deployments do."""
    link.with_name("next").symlink_to(target)
    link.with_name("next").rename(link)


def test_a_link_keeps_its_name_and_its_swap_is_a_new_version(served, running, tmp_path):
    """Both targets hold a version 1."""
    for name, version in (("monday", "1"), ("tuesday", "2")):
        shutil.copytree(served.folder / version, tmp_path / name / "1")
    (tmp_path / "broken" / "1").mkdir(parents=True)
    films = tmp_path / "films"
    films.symlink_to("monday")
    history = ["f1", "f2"]
    first, second = (
        each.recommend(history, k=30).items[0].tolist()
        for each in (served.recommender, served.newer)
    )

    def items(client):
        answer = client.post(PREDICT, json={"instances": [history]})
        assert answer.status_code == 200
        found = answer.json()["predictions"][0]
        return found["item_ids"][: found["valid"]]

    with running(films) as client:
        assert client.get("/api/model").json()["name"] == "films"
        assert items(client) == first != second
        point(films, "broken")
        time.sleep(0.3)
        assert items(client) == first
        assert states(client) == {"1": "AVAILABLE"}
        point(films, "tuesday")
        eventually(lambda: items(client) == second)
        assert states(client) == {"1": "AVAILABLE"}
        time.sleep(0.3)  # Given up by now is the one before, and not its number.
        assert states(client) == {"1": "AVAILABLE"}
        point(films, "monday")
        eventually(lambda: items(client) == first)


def test_a_version_that_is_a_link(served, running, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    (films / "1").symlink_to(served.folder / "1")
    with running(films) as client:
        loaded = client.get("/api/model").json()
        point(films / "1", served.folder / "2")
        ask = {"instances": [["f1"]]}
        expected = served.newer.recommend(["f1"], k=1).items[0].tolist()
        eventually(
            lambda: (
                client.post(PREDICT, json=ask).json()["predictions"][0]["item_ids"][:1]
                == expected
            )
        )
        assert client.get("/api/model").json() == loaded
