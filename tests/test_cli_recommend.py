"""`recommend` and `similar`, called in this process."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from answers import answer, failure
from conftest import pairs

import keras_multvae
from keras_multvae import EASE, MultVAE, Recommender
from keras_multvae.cli import main
from keras_multvae.data import (
    Interactions,
    load_prepared,
    save_prepared,
    strong_generalization,
)

RNG = np.random.default_rng(0)
TASTE = (np.arange(80)[:, None] + np.arange(20)) % 2 == 0
USERS, ITEMS = np.nonzero(TASTE & (RNG.random(TASTE.shape) < 0.8))
CLICKS = Interactions.from_events(USERS, [f"f{item}" for item in ITEMS])
TITLES = {f"f{i}": f"Film, the {i}th" for i in range(19)}  # f19 has none


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """prepared/, and a model that keeps histories, model/, and one that does not."""
    folder = tmp_path_factory.mktemp("recommend")
    split = strong_generalization(CLICKS, 8, 8)
    save_prepared(split, folder / "prepared", TITLES)
    model = MultVAE(20, 3, (8,), seed=0)
    items = split.train.items
    kept = Recommender(model, items, histories=split.histories(), titles=TITLES)
    kept.save(folder / "model")
    Recommender(model, items, titles=TITLES).save(folder / "bare")
    return folder


@pytest.fixture(scope="module")
def recommender(folder):
    return Recommender.load(folder / "model")


def same(found, expected):
    """Whether lines of JSON are the recommendations of a `Recommender`."""
    assert [line["item_ids"] for line in found] == [r.tolist() for r in expected.items]
    for line, scores in zip(found, expected.scores, strict=True):
        np.testing.assert_allclose(line["scores"], scores, atol=1e-5)
        assert line["titles"] == [TITLES.get(item) for item in line["item_ids"]]


def test_one_line_a_history(folder, recommender, capsys, tmp_path):
    histories = tmp_path / "histories.jsonl"
    histories.write_text('["f1", "f3"]\n\n[]\n["f2"]\n')
    found = answer(capsys, "recommend", folder / "model", histories, "-k", 4)
    same(found, recommender.recommend([["f1", "f3"], [], ["f2"]], k=4))
    assert not {"f1", "f3"} & set(found[0]["item_ids"])
    assert main(["recommend", f"{folder}/model", str(histories), "-k", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("history")] == [
        "history 1:", "history 3:", "history 4:"
    ]  # fmt: skip
    # Titles and ids both, and ids alone where there is no title.
    assert any(". Film, the 5th [f5]  (-" in line for line in lines)
    assert any(". f19  (-" in line for line in lines)


@pytest.mark.parametrize("binary", [True, False])
def test_standard_input(folder, recommender, capsys, monkeypatch, binary):
    def stdin(text):
        stream = io.TextIOWrapper(io.BytesIO(text.encode()))
        monkeypatch.setattr(sys, "stdin", stream if binary else io.StringIO(text))

    stdin('["f1", "f3"]')
    found = answer(capsys, "recommend", folder / "model", "-k", 4)
    same(found, recommender.recommend(["f1", "f3"], k=4))
    stdin('{"customer": "ann", "sku": "f2"}\n')
    columns = ("--user-column", "customer", "--item-column", "sku")
    (line,) = answer(capsys, "recommend", folder / "model", "-", "-k", 4, *columns)
    assert line["user_id"] == "ann"
    same([line], recommender.recommend(["f2"], k=4))
    stdin('["f1"]\n[')
    line = failure(capsys, "recommend", folder / "model")
    assert "error: standard input cannot be read: line 2 is no JSON" in line
    stdin("\n")
    assert "no history" in failure(capsys, "recommend", folder / "model")


EVENTS = [("bob", "f1"), ("ann", "f2"), ("bob", "f3"), ("ann", "f2")]


@pytest.fixture(params=["csv", "jsonl", "jsonl.gz", "parquet", "headerless"])
def events(request, tmp_path):
    """EVENTS in a file of a kind, and the options that it is read by."""
    path = tmp_path / f"events.{request.param}"
    columns = ["--user-column", "customer", "--item-column", "sku"]
    rows = [{"customer": user, "sku": item, "stars": 5} for user, item in EVENTS]
    rows.append({"customer": "ann", "sku": "f4", "stars": 1})
    rating = ["--rating-column", "stars", "--min-rating", "4"]
    if "jsonl" in request.param:
        text = "\n".join(map(json.dumps, rows)).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    elif request.param == "parquet":
        pytest.importorskip("polars").DataFrame(rows).write_parquet(path)
    else:
        lines = [";".join(map(str, row.values())) for row in rows]
        columns += ["--separator", ";"]
        if request.param == "csv":
            lines = ["customer;sku;stars", *lines]
        else:
            columns = ["--separator", ";", "--columns", "user,item,rating"]
            rating = rating[2:]
        path.write_text("\n".join(lines))
    return path, [*columns, *rating]


def test_everybody_in_files_of_events(folder, recommender, capsys, tmp_path, events):
    path, options = events
    expected = recommender.recommend([["f2"], ["f1", "f3"]], k=4)
    command = ("recommend", folder / "model", path, "-k", 4, *options)
    found = answer(capsys, *command)
    assert [line["user_id"] for line in found] == ["ann", "bob"]
    same(found, expected)
    assert main([*map(str, command)]) == 0
    out, err = capsys.readouterr()
    assert "user ann:\n  1. Film, the " in out
    assert "1 events rated lower than --min-rating" in err
    polars = pytest.importorskip("polars")
    out = tmp_path / "r.parquet"
    (found,) = answer(capsys, *command, "--out", out)
    assert found == {"out": str(out), "users": 2, "rows": 8}
    table = polars.read_parquet(out)
    assert table["user_id"].to_list() == ["ann"] * 4 + ["bob"] * 4
    assert table["item_id"].to_list() == [i for row in expected.items for i in row]


def test_unknown_items_stop_or_are_counted(folder, recommender, capsys, tmp_path):
    lists, events = tmp_path / "lists.jsonl", tmp_path / "events.jsonl.gz"
    lists.write_text('["f1", "none", "gone"]\n["none"]\n[]\n')
    rows = [("a", "f1"), ("a", "none"), ("a", "gone"), ("b", "none"), ("b", "none")]
    lines = [json.dumps({"user_id": user, "item_id": item}) for user, item in rows]
    events.write_bytes(gzip.compress("\n".join(lines).encode()))
    counts = {
        "unknown_items": 2,
        "entries_of_unknown_items": 3,
        "users_of_unknown_items": 1,
    }
    model, out = folder / "model", tmp_path / "r.parquet"
    for path in (lists, events):
        line = failure(capsys, "recommend", model, path)
        assert "'none', 'gone'" in line
        skip = ("recommend", model, path, "--on-unknown", "skip")
        found = answer(capsys, *skip)
        same(found[:2], recommender.recommend([["f1"], []]))
        pytest.importorskip("pyarrow")
        (found,) = answer(capsys, *skip, "--out", out)
        assert {name: found[name] for name in counts} == counts
        assert main([*map(str, skip)]) == 0
        said = capsys.readouterr().err
        assert "Left out: 2 unknown items, in 3 entries." in said
        assert "nothing is known gets: 1." in said


def test_text_takes_the_kind_of_the_models_ids(capsys, tmp_path):
    clicks = Interactions.from_events([1, 1, 2, 2, 3], [7, 8, 8, 9, 9])
    model = EASE(3, 1.0).fit(clicks)
    Recommender(model, clicks.items, histories=clicks).save(tmp_path / "model")
    (tmp_path / "h.jsonl").write_text('["7"]\n[7]\n')
    (tmp_path / "sold_out.txt").write_text("8\r\n\n")
    found = answer(
        capsys, "recommend", tmp_path / "model", tmp_path / "h.jsonl",
        "--deny", tmp_path / "sold_out.txt", "--allow", "8", "9",
    )  # fmt: skip
    assert [line["item_ids"] for line in found] == [[9], [9]]
    (line,) = answer(capsys, "recommend", tmp_path / "model", "--user", "1")
    assert (line["user_id"], line["item_ids"]) == (1, [9])


def test_users_and_everybody_by_their_stored_histories(
    folder, recommender, capsys, tmp_path
):
    model = folder / "model"
    split = load_prepared(folder / "prepared").split
    # Users of all parts, each with all that he has.
    assert pairs(recommender.histories) == pairs(CLICKS)
    tested = split.test.input.users.ids[0]
    found = answer(capsys, "recommend", model, "--user", tested, 3, "-k", 20)
    assert [line["user_id"] for line in found] == [tested, 3]
    for line in found:
        has = {item for user, item in pairs(CLICKS) if user == line["user_id"]}
        assert set(line["item_ids"]) == set(CLICKS.items.ids) - has
    everybody = answer(capsys, "recommend", model, "--all", "-k", 4)
    same(everybody, recommender.recommend(user_ids="all", k=4))
    assert [line["user_id"] for line in everybody] == recommender.histories.users.ids[
        :
    ].tolist()
    polars = pytest.importorskip("polars")
    out = tmp_path / "r.parquet"
    for users, wanted in (((3, 5), 2), ((), 80)):
        who = ("--user", *users) if users else ("--all",)
        (found,) = answer(capsys, "recommend", model, *who, "--out", out, "-k", 2)
        assert found == {"out": str(out), "users": wanted, "rows": 2 * wanted}
        table = polars.read_parquet(out)
        expected = recommender.recommend(user_ids=users or "all", k=2)
        assert table["item_id"].to_list() == [i for row in expected.items for i in row]


def test_users_that_are_not_known(folder, capsys):
    line = failure(capsys, "recommend", folder / "model", "--user", "3", "u3", "99")
    assert "keeps no history of 'u3' and 1 more; its user ids are as" in line
    for who in (("--all",), ("--user", "3")):
        line = failure(capsys, "recommend", folder / "bare", *who)
        assert "bare keeps no histories" in line and "--no-histories" in line


def test_niche_reasons_allow_and_deny(folder, recommender, capsys, tmp_path):
    model, histories = folder / "model", tmp_path / "histories.jsonl"
    histories.write_text('["f1", "f3"]\n["f2"]\n')
    (tmp_path / "some.txt").write_text("f4\nf5\nf6\nf7\n")
    (tmp_path / "more.txt.gz").write_bytes(gzip.compress(b"f8\nf9"))
    arguments = ("recommend", model, histories, "--niche", "0.5", "--reasons", "2")
    allow = ("--allow", tmp_path / "some.txt", tmp_path / "more.txt.gz", "f11")
    found = answer(capsys, *arguments, *allow, "--deny", "f5")
    expected = recommender.recommend(
        [["f1", "f3"], ["f2"]],
        niche=0.5,
        reasons=2,
        allow=["f4", "f5", "f6", "f7", "f8", "f9", "f11"],
        deny=["f5"],
    )
    same(found, expected)
    assert {len(line["item_ids"]) for line in found} == {6}
    for line, reasons in zip(found, expected.reasons, strict=True):
        told = [
            [(r["item_id"], r["title"], round(r["change"], 4)) for r in each]
            for each in line["reasons"]
        ]
        assert told == [
            [(r.item, TITLES[r.item], round(r.change, 4)) for r in each]
            for each in reasons
        ]
    assert main([*map(str, arguments)]) == 0
    assert "     because of Film, the " in capsys.readouterr().out


def test_lists_of_items_that_are_none(folder, capsys, tmp_path, monkeypatch):
    histories = tmp_path / "histories.jsonl"
    histories.write_text('["f1"]\n')
    command = ("recommend", folder / "model", histories)
    line = failure(capsys, *command, "--deny", "nosuch.txt")
    assert "--deny nosuch.txt is neither a file nor an item" in line
    (tmp_path / "sold.txt").write_text("f2\nnone\nf3 \n")
    deny = ("--deny", tmp_path / "sold.txt")
    assert "'none', 'f3 '" in failure(capsys, *command, *deny)
    (line,) = answer(capsys, *command, *deny, "--on-unknown", "skip", "-k", 20)
    assert "f2" not in line["item_ids"] and "f3" in line["item_ids"]
    capsys.readouterr()
    assert main([*map(str, (*command, *deny, "--on-unknown", "skip"))]) == 0
    assert "2 of 3 ids of --deny are unknown" in capsys.readouterr().err
    (tmp_path / "f2").write_text("f3")
    monkeypatch.chdir(tmp_path)
    assert "is an item and a file" in failure(capsys, *command, "--deny", "f2")
    (line,) = answer(capsys, *command, "--deny", "./f2", "-k", 20)
    assert "f3" not in line["item_ids"] and "f2" in line["item_ids"]
    (tmp_path / "latin.txt").write_bytes("f2\nf\xe9".encode("latin-1"))
    line = failure(capsys, *command, "--deny", tmp_path / "latin.txt")
    assert "line 2 is not UTF-8" in line


def test_the_users_of_a_prepared_folder(folder, recommender, capsys, tmp_path):
    polars = pytest.importorskip("polars")
    model, prepared, out = folder / "bare", folder / "prepared", tmp_path / "r.parquet"
    split = load_prepared(prepared).split
    for more, users in (
        ((), split.train.num_users),
        (("--part", "test"), split.test.num_users),
    ):
        (found,) = answer(capsys, "recommend", model, prepared, "--out", out, *more)
        assert found["users"] == users
        assert len(answer(capsys, "recommend", model, prepared, *more)) == users
    (found,) = answer(capsys, "recommend", model, prepared, "--out", out, "-k", 3)
    assert found == {"out": str(out), "users": split.train.num_users,
                     "rows": 3 * split.train.num_users}  # fmt: skip
    table = polars.read_parquet(out)
    assert table.columns == ["user_id", "rank", "item_id", "score"]
    assert table["user_id"].unique().sort().to_list() == split.train.users.ids.tolist()
    first = table.filter(polars.col("user_id") == int(split.train.users.ids[0]))
    history = split.train.items.ids[split.train.matrix[0].indices].tolist()
    expected = recommender.recommend(history, k=3).items[0]
    assert first["item_id"].to_list() == expected.tolist()
    capsys.readouterr()
    assert main(["recommend", str(model), str(prepared), "--out", str(out)]) == 0
    out_text, err = capsys.readouterr()
    assert "Written to" in out_text
    assert "recommending: 64/64 users, " in err and " users/s" in err


def test_bad_histories_are_named(folder, capsys, tmp_path):
    histories = tmp_path / "histories.jsonl"
    for text, expected in (
        ('["f1"', "line 1 is no JSON"),
        ('{"a": 1}', "no column 'user_id'"),
        ("7", "line 1 must be a JSON object, an event with its columns as keys, or"),
        ('["f1"]\n\n{"user_id": 1, "item_id": "f1"}', "line 3 must be a list of item"),
        ('{"user_id": 1, "item_id": "f1"}\n[]', "line 2 must be a JSON object"),
        ('{"user_id": 1.5, "item_id": "f1"}', "Received 1.5 (float) at row 0 (line 1"),
        ('{"user_id": "a", "item_id": "f1"}\n{"user_id": 7, "item_id": "f1"}',
         "Received 7 (int) at row 1 (line 2"),
        ('[{"f1": 2}]', "line 1 must hold item ids"),
        ("[true]", "line 1 must hold item ids"),
        ("", "no history"),
    ):  # fmt: skip
        histories.write_text(text + "\n")
        line = failure(capsys, "recommend", folder / "model", histories)
        assert expected in line
    histories.write_bytes('["f1"]\n["é"]\n'.encode("latin-1"))
    line = failure(capsys, "recommend", folder / "model", histories)
    assert "line 2 is not utf-8" in line and "--encoding latin-1" in line


def test_what_does_not_go_together_is_told(folder, capsys, tmp_path):
    model, prepared, out = folder / "model", folder / "prepared", tmp_path / "r.parquet"
    empty, lists = tmp_path / "empty", tmp_path / "lists.jsonl"
    empty.mkdir()
    lists.write_text('["f1"]')
    (tmp_path / "clicks.csv").write_text("user,film\n1,f1\n")
    for arguments, text in (
        ((model, folder / "none", "--out", out), "the folder that prepare wrote"),
        ((model, tmp_path / "clicks.csv", "--out", out), "no column 'user_id'"),
        ((model, empty, "--out", out), "has no .csv"),
        ((model, prepared, "--user-column", "u"), "--user-column goes with files of"),
        ((model, lists, "--null", "x"), "--null goes with files of events"),
        ((model, lists, "--part", "test"), "--part goes with the folder that prepare"),
    ):
        assert text in failure(capsys, "recommend", *arguments)
    assert not out.exists()


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["m", "f.csv", "--all"], "--all takes the histories that the model keeps"),
        (["m", "f.csv", "--user", "1"], "--user takes the histories"),
        (["m", "--all", "--user", "1"], "not allowed with"),
        (["m", "--all", "--separator", ";"], "--separator goes with FILE"),
        (["m", "--all", "--part", "test"], "--part goes with FILE"),
        (
            ["m", "--all", "--out", "r", "--reasons", "1"],
            "--reasons goes without --out",
        ),
        (["m", "--niche", "1.5"], "a number in [0, 1], not '1.5'"),
        (["m", "--niche", "nan"], "a number in [0, 1], not 'nan'"),
        (["m", "--reasons", "-1"], "an integer >= 0"),
        (["m", "f", "--min-rating", "4"], "--min-rating needs --rating-column"),
        (["m", "f", "--rating-column", "r"], "--rating-column needs --min-rating"),
        (["m", "--user", "1", "--engine", "ray", "--out", "o"], "not with --user"),
        (["m", "--all", "--engine", "ray"], "needs --out FOLDER"),
        (["m", "--all", "--workers", "2"], "need --engine ray"),
    ],
)
def test_bad_use_exits_with_2(capsys, arguments, text):
    with pytest.raises(SystemExit) as error:
        main(["recommend", *arguments])
    assert error.value.code == 2
    assert text in capsys.readouterr().err


def test_similar_items(folder, recommender, capsys):
    model = folder / "model"
    found = answer(capsys, "similar", model, "f1", "f19", "--k", 3)
    expected = recommender.similar_items(["f1", "f19"], 3)
    same(found, expected)
    assert [line["item_id"] for line in found] == ["f1", "f19"]
    assert [line["title"] for line in found] == ["Film, the 1th", None]
    vectors = recommender.model.item_vectors
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ vectors[recommender.items.index(["f1"])[0]] / lengths
    place = recommender.items.index(["f1", *found[0]["item_ids"]])
    np.testing.assert_allclose(
        cosines[place[1:]] / lengths[place[0]], found[0]["scores"], atol=1e-5
    )
    assert main(["similar", str(model), "f1", "-k", "2"]) == 0
    assert capsys.readouterr().out.startswith("Film, the 1th [f1]:\n  1. ")
    assert "no item 'nosuch'" in failure(capsys, "similar", model, "f1", "nosuch")


def test_similar_items_of_a_model_without_vectors(capsys, tmp_path):
    model = EASE(20).fit(CLICKS)
    Recommender(model, CLICKS.items).save(tmp_path / "ease")
    line = failure(capsys, "similar", tmp_path / "ease", "f1")
    assert "similar_items() needs a model with item vectors" in line


def test_whoever_reads_may_stop_reading(folder):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(keras_multvae.__file__).parents[1]),
    }
    program = (
        f"{sys.executable} -m keras_multvae recommend model --all --json | head -1"
    )
    run = subprocess.run(
        ["bash", "-c", program],
        cwd=folder,
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout)["user_id"] == 0
    assert "Broken" not in run.stderr and "Exception" not in run.stderr
