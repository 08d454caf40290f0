"""`keras-multvae prepare`: how files are read, what is kept, how it is split."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from keras_multvae.cli import main
from keras_multvae.data import load_prepared

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
EVENTS = [
    (f"u{user}", f"{item:03}", int(rating), f"2024-0{1 + day // 28}-{1 + day % 28:02}")
    for user in range(30)
    for item, rating, day in zip(
        RNG.permutation(15)[:9],
        RNG.integers(1, 6, 9),
        RNG.permutation(112)[:9],
        strict=True,
    )
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a test may write, with events of a shop; the current folder."""
    monkeypatch.chdir(tmp_path)
    rows = [";".join(map(str, event)) for event in EVENTS]
    (tmp_path / "log.csv").write_text("\n".join(["who;what;stars;day", *rows]))
    titles = "\n".join(f"{i:03};Café {i}" for i in range(20))
    (tmp_path / "names.csv").write_bytes(f"id;name\n{titles}".encode("latin-1"))
    return tmp_path


READ = ["log.csv", "--separator", ";", "--user-column", "who", "--item-column", "what"]
TIMED = [*READ, "--timestamp-column", "day", "--min-user-items", "1"]


def prepare(capsys, *arguments, out="out"):
    """What the command says in JSON, and the folder that it made."""
    assert main(["prepare", *arguments, "--out", out, "--json"]) == 0
    return json.loads(capsys.readouterr().out), load_prepared(out)


def refused(capsys, *arguments):
    """What a command that goes wrong says, and that it left nothing behind."""
    try:
        status = main(["prepare", *arguments, "--out", "no"])
    except SystemExit as error:
        status = error.code
    assert status in (1, 2)
    return capsys.readouterr().err.splitlines()[-1]


def test_titles_from_a_file_of_their_own_kind(folder, capsys):
    titles = ["--items", "names.csv", "--items-id-column", "id"]
    titles += ["--title-column", "name", "--items-encoding", "latin-1"]
    said, prepared = prepare(capsys, *READ, *titles)
    assert prepared.titles["003"] == "Café 3"
    assert said["titles"] == {"items": 15, "unknown": 5}
    assert main(["prepare", *READ, *titles, "--out", "out"]) == 0
    words = capsys.readouterr().out
    assert "15 of 15 items have a title; 5 titles are of items that are not kept." in (
        words
    )
    text = refused(capsys, *READ, *titles[:-2])
    assert "names.csv" in text and "--encoding latin-1" in text
    (folder / "names.csv").write_text("id;name\nx;Lamp\n")
    assert "No title in names.csv is of an item" in refused(capsys, *READ, *titles)


def test_what_was_left_out_is_told(folder, capsys):
    with (folder / "log.csv").open("a") as file:
        file.write("\n\nNULL;003;5;2024-01-01\nu1;;4;2024-01-01\n")
    rated = ["--rating-column", "stars", "--min-rating", "3", "--drop-missing"]
    said, _ = prepare(capsys, *READ, *rated)
    counts = said["counts"]
    assert counts["events"] == len(EVENTS) + 2
    assert counts["events_lost_to_missing"] == 2
    low = sum(event[2] < 3 for event in EVENTS)
    assert counts["events_lost_to_min_rating"] == low
    main(["prepare", *READ, *rated, "--out", "out"])
    words = capsys.readouterr().out
    assert f"kept of {len(EVENTS) + 2} events." in words
    assert "Left out: 2 events in which something is missing, " in words
    assert f"{low} events rated lower" in words and "1 blank lines" in words
    text = refused(capsys, *READ, *rated[:-1])
    assert f"line {len(EVENTS) + 3} of log.csv" in text and "--drop-missing" in text


def test_split_by_time(folder, capsys):
    by_date, prepared = prepare(
        capsys,
        *TIMED,
        *[
            "--split",
            "time",
            "--validation-from",
            "2024-03-01",
            "--test-from",
            "2024-04-01",
        ],
    )
    split = prepared.split
    assert split.settings["method"] == "temporal_split"
    assert split.settings["test_from"] == 1711929600
    assert by_date["test_users"] == split.test.num_users > 0
    assert split.train.timestamps.max() < 1709251200
    days = sorted(event[3] for event in EVENTS)
    _, by_share = prepare(
        capsys,
        *TIMED,
        *["--split", "time", "--validation-from", "0.5", "--test-from", "30d"],
    )
    settings = by_share.split.settings
    middle = np.datetime64(days[len(days) // 2], "s").astype(int)
    assert settings["validation_from"] == middle
    last = np.datetime64(days[-1], "s").astype(int)
    assert settings["test_from"] == last + 1 - 30 * 86400


def test_last_out(folder, capsys):
    _, prepared = prepare(capsys, *TIMED, "--split", "last-out")
    split = prepared.split
    assert split.settings["method"] == "leave_last_out"
    assert (split.test.targets.matrix.getnnz(axis=1) == 1).all()


def test_given_files(folder, capsys):
    (folder / "train.csv").write_text("user_id,item_id\n1,7\n1,8\n2,8\n2,9\n1,7\n")
    (folder / "valid.csv").write_text("user_id,item_id\n1,9\n")
    (folder / "test.csv").write_text("user_id,item_id\n2,7\n2,x\n")
    given = [
        "train.csv",
        "--split",
        "holdout",
        "--test-file",
        "test.csv",
        "--min-user-items",
        "1",
    ]
    said, prepared = prepare(capsys, *given, "--validation-file", "valid.csv")
    split = prepared.split
    assert split.train.items.ids.tolist() == [7, 8, 9]
    assert split.validation.input.users.ids.tolist() == [1]
    assert split.test.targets.matrix.toarray().tolist() == [[1, 0, 0]]
    assert said["test_clicks_on_unknown_items"] == 1
    assert prepare(capsys, *given)[1].split.validation is None
    (folder / "test.csv").write_text("user_id,item_id\n02,7\n")
    assert "`test` must hold users of `train`" in refused(capsys, *given)


def test_core(folder, capsys):
    said, prepared = prepare(capsys, *READ, "--k-core", "8")
    train = prepared.manifest["settings"]
    assert (train["k_core"], train["min_user_items"]) == (8, 1)
    assert {"users_lost_to_k_core", "items_lost_to_k_core"} <= set(said["counts"])


WRONG = {
    "--rating-column stars": "--rating-column needs --min-rating",
    "--min-rating 4": "--min-rating needs --rating-column",
    "--split time": "--split time needs --timestamp-column",
    "--split time --timestamp-column day": "--split time needs --validation-from",
    "--split last-out": "--split last-out needs --timestamp-column",
    "--split holdout": "--split holdout needs --test-file",
    "--test-file x": "--test-file goes with --split holdout",
    "--validation-file x": "--validation-file needs --test-file",
    "--test-from 0.9": "--test-from goes with --split time",
    "--split last-out --timestamp-column day --seed 1": "--seed goes with --split str",
    "--k-core 3 --min-user-items 2": "--k-core stands for",
    "--quote ab": "`quote` must be one ASCII character",
    "--encoding klingon": "`encoding` must be one that Python knows",
    "--time-unit year": "invalid choice: 'year'",
}


@pytest.mark.parametrize("more", WRONG)
def test_options_that_do_not_go_together(folder, capsys, more):
    text = refused(capsys, *READ, *more.split())
    assert re.search(re.escape(WRONG[more]), text)
    assert not (folder / "no").exists()


def test_files_without_a_header(folder, capsys):
    rows = ["::".join(map(str, event)) for event in EVENTS]
    (folder / "log.dat").write_text("\n".join(rows))
    columns = "user,item,rating,timestamp"
    reading = ["log.dat", "--separator", "::", "--columns", columns]
    said, prepared = prepare(capsys, *reading, "--min-rating", "4")
    assert said["counts"]["events"] == len(EVENTS)
    assert prepared.split.train.timestamps is not None
    tabs = ["log.dat", "--separator", "tab", "--columns", columns]
    assert "separator='::'" in refused(capsys, *tabs)
