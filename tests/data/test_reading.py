"""Files of events: each kind, and each way they can be wrong."""

from __future__ import annotations

import gzip
import re
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

from keras_multvae.data import Interactions, read_interactions, read_titles
from keras_multvae.data.ingest import shown

pytestmark = pytest.mark.once

FRAME = pd.DataFrame(
    {
        "user_id": [2, 1, 2, 1],
        "extra": [None, "x", "y", "z"],
        "item_id": ["b", "a", "a", "c"],
        "rating": [4.0, 5.0, 3.0, 4.5],
        "time": [40, 30, 20, 10],
    }
)
COLUMNS = {"rating_column": "rating", "timestamp_column": "time", "min_rating": 4}


def same(left: Interactions, right: Interactions) -> bool:
    return (
        left.users == right.users
        and left.items == right.items
        and (left.matrix != right.matrix).nnz == 0
        and np.array_equal(left.timestamps, right.timestamps)
        and np.array_equal(left.positions, right.positions)
    )


WRITERS = {
    "events.csv": lambda path: FRAME.to_csv(path, index=False),
    "events.CSV": lambda path: FRAME.to_csv(path, index=False),
    "events.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "events.csv.gz": lambda path: FRAME.to_csv(path, index=False),
    "events.parquet": lambda path: FRAME.to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_reads_the_same(tmp_path, name):
    WRITERS[name](tmp_path / name)
    expected = Interactions.from_events(
        FRAME.user_id,
        FRAME.item_id,
        ratings=FRAME.rating,
        timestamps=FRAME.time,
        min_rating=4,
    )
    assert expected.items.ids.tolist() == ["b", "a", "c"]
    assert same(read_interactions(tmp_path / name, **COLUMNS), expected)
    assert same(read_interactions(str(tmp_path / name), **COLUMNS), expected)


@pytest.mark.parametrize("df", [FRAME, pl.DataFrame(FRAME)])
def test_dataframes(tmp_path, df):
    FRAME.to_csv(tmp_path / "events.csv", index=False)
    from_file = read_interactions(tmp_path / "events.csv", **COLUMNS)
    assert same(read_interactions(df, **COLUMNS), from_file)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_folder_is_read_in_the_order_of_names(tmp_path, suffix):
    for name, rows in (("part-1", FRAME[:2]), ("part-0", FRAME[2:])):
        path = tmp_path / f"{name}.{suffix}"
        rows.to_csv(path, index=False) if suffix == "csv" else rows.to_parquet(path)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "README").write_text("no data")
    got = read_interactions(tmp_path)
    assert got.items.ids.tolist() == ["a", "c", "b"]
    assert got.num_entries == 4


def test_separator(tmp_path):
    FRAME.to_csv(tmp_path / "events.csv", index=False, sep=";")
    assert read_interactions(tmp_path / "events.csv", separator=";").num_entries == 4


def test_column_type_follows_from_all_rows_and_parts(tmp_path):
    late = "user_id,item_id\n" + "".join(f"{i},{i}\n" for i in range(2000)) + "x1,5\n"
    (tmp_path / "1.csv").write_text(late)
    one = read_interactions(tmp_path / "1.csv")
    assert one.users.kind == "str" and one.items.kind == "int"
    # Ids that are digits only in one part are text where another part has letters.
    (tmp_path / "0.csv").write_text("user_id,item_id\n007,1\n")
    both = read_interactions(tmp_path)
    assert both.users.kind == "str" and "007" in both.users
    assert both.counts["events"] == 2002


def test_counts_and_values(tmp_path):
    (tmp_path / "plays.csv").write_text("user_id,item_id,plays\n1,a,3\n1,b,2\n1,a,4\n")
    got = read_interactions(
        tmp_path / "plays.csv", value_column="plays", duplicates="count"
    )
    assert got.matrix.toarray().tolist() == [[7, 2]]


CONTENT = {
    "empty": ("", {}, "is empty"),
    "header only": ("user_id,item_id\n", {}, "no rows, only a header"),
    "missing column": (
        "user,item_id\n1,2\n",
        {},
        "no column 'user_id'. Columns found: 'user', 'item_id'",
    ),
    "text rating": (
        "user_id,item_id,stars\n1,1,5\n1,2,good\n",
        {"rating_column": "stars"},
        "`ratings` must be numbers. Received 'good' at row 1 .line 3.*1 such",
    ),
    "NaN rating": (
        "user_id,item_id,stars\n1,1,5\n1,2,NaN\n",
        {"rating_column": "stars"},
        "`ratings` must be numbers.*None.*row 1 .line 3",
    ),
    "missing rating": (
        "user_id,item_id,stars\n1,1,5\n1,2,\n",
        {"rating_column": "stars"},
        "`ratings` must be numbers.*row 1",
    ),
    "negative value": (
        "user_id,item_id,n\n1,1,5\n1,2,-1\n",
        {"value_column": "n"},
        ">= 0.*-1 at row 1",
    ),
    "missing id": ("user_id,item_id\n1,1\n,2\n", {}, "Bad user ids.*missing id"),
    "float ids": ("user_id,item_id\n1.5,1\n", {}, "Bad user ids.*1.5"),
    "ragged": ("user_id,item_id\n1,2,3,4\n", {}, "cannot be read"),
    "no UTF-8": (b"user_id,item_id\n\xff\xfe,2\n", {}, "cannot be read"),
    "nothing left": (
        "user_id,item_id\n1,2\n",
        {"min_user_items": 5},
        r"Nothing is left.*1 users \(1 entries\) to min_user_items",
    ),
}


@pytest.mark.parametrize("case", CONTENT)
def test_bad_content(tmp_path, case):
    content, arguments, text = CONTENT[case]
    path = tmp_path / "events.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValueError, TypeError), match=text):
        read_interactions(path, **arguments)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv"):
        read_interactions(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match=r"has no .csv"):
        read_interactions(tmp_path)
    (tmp_path / "events.xlsx").write_text("x")
    with pytest.raises(ValueError, match=r"must end in one of .csv"):
        read_interactions(tmp_path / "events.xlsx")
    FRAME.to_parquet(tmp_path / "cut.parquet")
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut.parquet cannot be read as .parquet"):
        read_interactions(tmp_path / "cut.parquet")
    packed = gzip.compress(FRAME.to_csv(index=False).encode())
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"cut.csv.gz cannot be read"):
        read_interactions(tmp_path / "cut.csv.gz")


def test_a_folder_of_two_kinds_is_refused(tmp_path):
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"several kinds: .csv, .parquet"):
        read_interactions(tmp_path)


def test_parquet_parts_must_agree(tmp_path):
    FRAME.to_parquet(tmp_path / "a.parquet")
    FRAME.assign(user_id=["x"] * 4).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="do not agree on the type of user_id"):
        read_interactions(tmp_path)
    narrow = FRAME.astype({"user_id": "int16"})
    narrow.to_parquet(tmp_path / "b.parquet")
    assert read_interactions(tmp_path).counts["events"] == 8


def test_a_part_without_rows_changes_nothing(tmp_path):
    FRAME.to_csv(tmp_path / "1.csv", index=False)
    alone = read_interactions(tmp_path, **COLUMNS)
    FRAME[:0].to_csv(tmp_path / "0.csv", index=False)
    assert same(read_interactions(tmp_path, **COLUMNS), alone)


def test_without_polars_the_extra_is_named(tmp_path, monkeypatch):
    FRAME.to_csv(tmp_path / "events.csv", index=False)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r'pip install "keras_multvae\[data\]"'):
        read_interactions(tmp_path / "events.csv")


def test_titles(tmp_path):
    (tmp_path / "t.csv").write_text('id,name\n1,"A, the film"\n2,\n3,C\n')
    assert read_titles(tmp_path / "t.csv", "id", "name") == {1: "A, the film", 3: "C"}
    with pytest.raises(ValueError, match="no column 'title'"):
        read_titles(tmp_path / "t.csv", "id", "title")


def test_real_titles(shared_data):
    films = read_titles(shared_data / "ml-latest-small/movies.csv", "movieId", "title")
    assert films[1] == "Toy Story (1995)"
    assert len(films) == 9742


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "csv.gz"])
def test_how_far_a_folder_is_read_is_told(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.setattr("keras_multvae.data.ingest.shown.PAUSE", 0.0)
    for part in "abc":
        frame = pl.DataFrame({"user_id": [1, 2], "item_id": [part, part]})
        if kind == "parquet":
            frame.write_parquet(tmp_path / f"{part}.parquet")
        elif kind == "jsonl":
            frame.write_ndjson(tmp_path / f"{part}.jsonl")
        else:
            text = frame.write_csv().encode()
            packed = gzip.compress(text) if kind == "csv.gz" else text
            (tmp_path / f"{part}.{kind}").write_bytes(packed)
    shares = []
    with monkeypatch.context() as patch:
        real = shown.reading

        def spied(name, done, show):
            return real(name, lambda: shares.append(done()) or shares[-1], show)

        patch.setattr("keras_multvae.data.reading.reading", spied)
        read_interactions(tmp_path, progress=True)
    # Of a packed file nobody knows how far it is before it ends.
    expected = [0, 1 / 3, 2 / 3] if kind == "csv.gz" else [1 / 3, 2 / 3, 1]
    assert shares == pytest.approx(expected, abs=0.02)
    *lines, last = capsys.readouterr().err.splitlines()
    for number, line in enumerate(lines, start=1):
        words = rf"Reading {tmp_path}: {2 * number} events, [\d,]+/s"
        assert re.fullmatch(words + r"(, \d:\d\d:\d\d left)?", line)
    assert len(lines) == 3
    assert re.fullmatch(rf"Read {tmp_path}: 6 events, [\d,]+/s", last)
    read_interactions(tmp_path)
    assert capsys.readouterr().err == ""
