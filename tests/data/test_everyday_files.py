"""Files as people have them: what once went wrong without a word, and what is right."""

from __future__ import annotations

import gzip
import json

import polars as pl
import pyarrow as pa
import pytest

from keras_multvae.data import Vocabulary, read_interactions, read_titles
from keras_multvae.recommender.events import of_events

pytestmark = pytest.mark.once


@pytest.fixture
def written(tmp_path):
    """Writes a file and gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(content)
        return path

    return write


def entries(interactions):
    """{(user, item): value}."""
    matrix = interactions.matrix.tocoo()
    users, items = interactions.users.ids, interactions.items.ids
    return {
        (users[row], items[column]): value
        for row, column, value in zip(
            matrix.row.tolist(), matrix.col.tolist(), matrix.data.tolist(), strict=True
        )
    }


PLAYS = {("u1", "a1"): 3, ("u1", "a2"): 5, ("u2", "a1"): 2, ("u2", "a3"): 4}
PLAYS["u3", "a2"] = 9
NAMES = {"inside": ('7" single', '12" mix'), "at the start": ('"Heroes', '"Weird')}


@pytest.mark.parametrize("where", NAMES)
def test_stray_quotes_in_a_column_that_nobody_asked_for(written, where):
    first, last = NAMES[where]
    rows = [
        "user_id\titem_id\tname\tplays",
        f"u1\ta1\t{first}\t3",
        "u1\ta2\tplain\t5",
        "u2\ta1\tplain\t2",
        "u2\ta3\tplain\t4",
        f"u3\ta2\t{last}\t9\n",
    ]
    path = written("quotes.tsv", "\n".join(rows))
    got = read_interactions(path, value_column="plays")
    assert entries(got) == PLAYS
    assert got.counts["events"] == 5
    # Where quotes are said to mean something, these are refused with their line.
    line = "line 2 a quote" if where == "inside" else "line 2|line 6"
    with pytest.raises(ValueError, match=rf"quotes.tsv.*{line}.*--quote none"):
        read_interactions(path, value_column="plays", quote='"')
    commas = written("quotes.csv", "\n".join(rows).replace("\t", ","))
    with pytest.raises(ValueError, match=r"quotes.csv.*line \d.*--quote none"):
        read_interactions(commas, value_column="plays")
    assert entries(read_interactions(commas, value_column="plays", quote="none")) == (
        PLAYS
    )


def test_one_stray_quote(written):
    content = 'user_id\titem_id\tname\nu1\ta1\t7" single\nu1\ta2\tplain\n'
    got = read_interactions(written("one.tsv", content))
    assert entries(got) == {("u1", "a1"): 1, ("u1", "a2"): 1}


def test_zeros_before_digits_are_kept(written):
    path = written("zeros.csv", "user_id,item_id\n1,0012\n1,12\n2,0012\n")
    got = read_interactions(path)
    assert set(entries(got)) == {(1, "0012"), (1, "12"), (2, "0012")}
    with pytest.raises(ValueError, match=r"Bad item ids.*'0012'.*--id-type str"):
        read_interactions(path, id_type="int")
    assert read_interactions(path, id_type="str").users.ids.tolist() == ["1", "2"]


TRAIN = "user_id,item_id\n1,2001\n1,A77\n2,2001\n2,2002\n3,2002\n3,A77\n"


def test_text_takes_the_kind_of_the_vocabulary_that_it_is_looked_up_in(written):
    items = read_interactions(written("train.csv", TRAIN)).items
    assert items.kind == "str"
    today = written("today.csv", "user_id,item_id\n901,2001\n902,2002\n")
    histories = of_events(today, items, "raise")
    assert entries(histories) == {(901, "2001"): 1, (902, "2002"): 1}
    titles = written("titles.csv", "item_id,title\n2001,Lamp\n2002,Chair\n")
    found = read_titles(titles, "item_id", "title", items=items)
    assert found == {"2001": "Lamp", "2002": "Chair"}


def test_text_that_no_int_was_made_of_is_unknown_to_ints(written):
    items = Vocabulary([2001, 2002])
    today = written("today.csv", "user_id,item_id\n901,2001\n901,A77\n902,02002\n")
    with pytest.raises(KeyError, match=r"Unknown ids: 'A77', '02002'"):
        of_events(today, items, "raise")
    found = of_events(today, items, "skip")
    assert entries(found) == {(901, 2001): 1}
    assert found.users.ids.tolist() == [901, 902]
    assert found.counts["unknown_items"] == 2
    assert found.counts["entries_of_unknown_items"] == 2
    titles = written("titles.csv", "item_id,title\n2001,Lamp\nA77,Chair\n")
    found = read_titles(titles, "item_id", "title", items=items)
    assert found == {2001: "Lamp", "A77": "Chair"}


def test_null_is_a_missing_id(written):
    path = written(
        "null.csv", "user_id,item_id\n1,10\n2,11\nNULL,10\nNULL,11\nNULL,12\n"
    )
    with pytest.raises(TypeError, match=r"Bad user ids.*missing.*line 4 of .*null.csv"):
        read_interactions(path)
    got = read_interactions(path, drop_missing=True)
    assert entries(got) == {(1, 10): 1, (2, 11): 1}
    assert got.counts["events_lost_to_missing"] == 3
    assert got.positions.tolist() == [0, 1]
    # Who says how missing values are spelled says so for all but the empty field.
    assert "NULL" in read_interactions(path, null=["?"]).users
    asked = written("asked.csv", "user_id,item_id\n1,10\n?,11\n,12\n")
    got = read_interactions(asked, null=["?"], drop_missing=True)
    assert got.counts["events_lost_to_missing"] == 2


def test_a_missing_id_is_named_by_its_line(written):
    path = written("nan.csv", "user_id,item_id\n1,10\n2,11\n3,NaN\n")
    with pytest.raises(TypeError, match=r"Bad item ids.*missing.*line 4 of .*nan.csv"):
        read_interactions(path)
    for other in ("\\N", "", '""', "NULL"):
        written("nan.csv", f"user_id,item_id\n\n1,10\n\r\n2,11\n3,{other}\n")
        with pytest.raises(TypeError, match=r"at row 2 \(line 6 of "):
            read_interactions(path)


def test_blank_lines_are_passed_over(written):
    path = written("blank.csv", "user_id,item_id\n1,10\n2,11\n\n")
    got = read_interactions(path)
    assert entries(got) == {(1, 10): 1, (2, 11): 1}
    assert got.counts["blank_lines"] == 1
    written("blank.csv", "\n\r\nuser_id,item_id\n\n\n1,10\n\r\n\n2,11")
    assert entries(read_interactions(path)) == entries(got)


def test_dates_as_text(written):
    path = written(
        "iso.csv",
        "user_id,item_id,ts\n1,10,2021-03-01 10:00:00\n1,11,2021-03-02 10:00:00\n",
    )
    got = read_interactions(path, timestamp_column="ts")
    assert got.timestamps.tolist() == [1614592800, 1614679200]
    assert got.fractions is None


MOVIELENS = "1\t103\t2\t978300113\n1\t100\t5\t978300110\n2\t103\t4\t978300129\n"
ROLES = ["user", "item", "rating", "timestamp"]


@pytest.mark.parametrize("separator", ["\t", "::", "tab", "\\t", " | "])
def test_files_without_a_header(written, separator):
    real = "\t" if separator in ("tab", "\\t") else separator
    path = written("ratings.dat", MOVIELENS.replace("\t", real))
    got = read_interactions(path, separator=separator, columns=ROLES, min_rating=3)
    assert entries(got) == {(1, 100): 1, (2, 103): 1}
    assert got.timestamps.tolist() == [978300110, 978300129]
    named = ["who", "what", "stars", "rest"]
    got = read_interactions(
        path,
        separator=separator,
        columns=named,
        user_column="who",
        item_column="what",
    )
    assert got.counts["events"] == 3 and got.timestamps is None
    with pytest.raises(ValueError, match=r"3 names .*line 1 has 4 fields"):
        read_interactions(path, separator=separator, columns=named[:3])
    with pytest.raises(ValueError, match=r"no header.*--columns user,item"):
        read_interactions(path, separator=separator)


def test_what_a_file_without_a_header_is_to_be_told(written):
    path = written("ratings.dat", MOVIELENS)
    with pytest.raises(ValueError, match=r"--separator.*--columns"):
        read_interactions(path)
    with pytest.raises(ValueError, match=r"fields seem to be separated by '\\t'"):
        read_interactions(path, separator="::", columns=ROLES)
    header = written("with.csv", "user,item\n1,2\n")
    with pytest.raises(ValueError, match="line 1 looks like a header"):
        read_interactions(header, columns=["user", "item"])


def test_another_separator_of_events_and_titles(written):
    events = written("semi.csv", "user_id;item_id\n1;10\n1;11\n")
    titles = written("titles.csv", "item_id;title\n10;Lamp\n11;Chair\n")
    assert set(entries(read_interactions(events, separator=";"))) == {(1, 10), (1, 11)}
    assert read_titles(titles, "item_id", "title", ";") == {10: "Lamp", 11: "Chair"}
    for read in (read_interactions, lambda p: read_titles(p, "item_id", "title")):
        with pytest.raises(ValueError, match=r"no column.*separator=';'"):
            read(titles)


def test_other_encodings(written):
    content = "item_id,title\n100,Café 100\n101,Café 101\n"
    path = written("titles.csv", content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"titles.csv.*line 2.*UTF-8.*encoding='latin"):
        read_titles(path, "item_id", "title")
    for encoding in ("latin-1", "utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-le"):
        path.write_bytes(content.encode(encoding))
        found = read_titles(path, "item_id", "title", encoding=encoding)
        assert found == {100: "Café 100", 101: "Café 101"}
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert len(read_titles(path, "item_id", "title")) == 2
    path.write_bytes(content.encode("utf-16"))
    with pytest.raises(ValueError, match=r"line 1 is not UTF-8.*utf-16"):
        read_titles(path, "item_id", "title")
    with pytest.raises(ValueError, match=r"line 2 is not ascii"):
        read_titles(written("t.csv", content), "item_id", "title", encoding="ascii")
    with pytest.raises(ValueError, match=r"`encoding` must be one that Python knows"):
        read_titles(path, "item_id", "title", encoding="klingon")


RAGGED = {
    "too many, in a column that nobody asked for": "2,3,a,b,c",
    "too few": "2,3",
    "too few, and one too many before": '2,3\n4,"5\n5",a,b,c',
}


@pytest.mark.parametrize("case", RAGGED)
def test_records_with_other_fields_than_the_header(written, case):
    rows = f'user_id,item_id,a,b\n1,2,"x\n,,\ny",z\n\n{RAGGED[case]}\n'
    path = written("e.csv", rows)
    with pytest.raises(ValueError, match=r"e.csv.*line 6 has \d fields.*4 .*user_id"):
        read_interactions(path)


def test_a_field_may_hold_line_breaks_and_separators(written):
    rows = 'title,user_id,item_id\n"a\n\n""b"",\r\nc",1,2\n"",3,4\nx,1,\n'
    path = written("e.csv", rows)
    with pytest.raises(TypeError, match=r"missing id.* row 2 \(line 7 of"):
        read_interactions(path)
    got = read_interactions(path, drop_missing=True)
    assert set(entries(got)) == {(1, 2), (3, 4)}
    assert got.positions.tolist() == [0, 1]
    titles = read_titles(path, "user_id", "title")
    assert titles == {1: "x"}
    long = written("t.csv", "item_id||title\n7||'a||b'\n8||c\n")
    found = read_titles(long, "item_id", "title", "||", quote="'")
    assert found == {7: "a||b", 8: "c"}


def test_decimal_commas(written):
    path = written("e.csv", "user_id;item_id;stars\n1;2;4,5\n1;3;3,5\n2;2;5\n")
    options = {"separator": ";", "rating_column": "stars", "min_rating": 4.5}
    got = read_interactions(path, decimal=",", **options)
    assert set(entries(got)) == {(1, 2), (2, 2)}
    with pytest.raises(ValueError, match=r"`ratings` must be numbers.*'4,5'.*line 2 "):
        read_interactions(path, **options)


def test_json_lines(written):
    events = [
        {"user_id": 1, "item_id": "007", "at": "2021-03-01", "more": [1]},
        {"item_id": 'b "x"', "user_id": 2**60 + 1, "at": "2021-03-02"},
    ]
    text = "\n\n".join(map(json.dumps, events))
    for name, content in (
        ("e.jsonl", text.encode()),
        ("e.ndjson", text.encode("utf-8-sig")),
        ("e.jsonl.gz", gzip.compress(text.encode())),
        ("e.ndjson.zst", pa.compress(text.encode(), codec="zstd", asbytes=True)),
    ):
        got = read_interactions(written(name, content), timestamp_column="at")
        assert set(entries(got)) == {(1, "007"), (2**60 + 1, 'b "x"')}
        assert got.timestamps.tolist() == [1614556800, 1614643200]
        assert got.counts["blank_lines"] == 1
    for bad, message in (
        ("[1, 2]", r"line 3 must be a JSON object.*histories"),
        ("{", r"line 3 is no JSON"),
        ('{"user_id": 3}', r"missing id, None at row 2 \(line 3 of"),
        ('{"user_id": "3", "item_id": "c"}', r"all int or all str"),
        ('{"user_id": 3.5, "item_id": "c"}', r"all int or all str.*3.5.*line 3 of"),
    ):
        lines = [*map(json.dumps, events), bad]
        with pytest.raises((ValueError, TypeError), match=message):
            read_interactions(written("bad.jsonl", "\n".join(lines)))


def test_packed_files(written):
    text = b"user_id,item_id\n1,2\n3,4\n"
    for name, content in (
        ("e.csv.gz", gzip.compress(text[:20]) + gzip.compress(text[20:])),
        ("e.csv.zst", pa.compress(text, codec="zstd", asbytes=True)),
        ("e.TSV.GZ", gzip.compress(text.replace(b",", b"\t"))),
    ):
        assert read_interactions(written(name, content)).num_entries == 2
        with pytest.raises(ValueError, match=r"cannot be read"):
            read_interactions(written(name, content[:-9]))


def test_folders_with_subfolders_and_partitions(written, tmp_path):
    for day, rows in (("2021-03-01", "1,a\n2,b\n"), ("2021-03-02", "1,b\n")):
        written(f"e/day={day}/0.csv", f"user_id,item_id\n{rows}")
    written("e/_logs/x.csv", "nothing")
    written("e/.hidden/x.csv", "nothing")
    got = read_interactions(tmp_path / "e", timestamp_column="day")
    assert set(entries(got)) == {(1, "a"), (2, "b"), (1, "b")}
    assert sorted(got.timestamps.tolist()) == [1614556800, 1614556800, 1614643200]
    for folder, user in (("u=x%2Fy", 7), ("u=z", 8)):
        path = tmp_path / "p" / folder / "part.parquet"
        path.parent.mkdir(parents=True)
        pl.DataFrame({"item_id": [user], "plays": [2.0]}).write_parquet(path)
    got = read_interactions(tmp_path / "p", user_column="u", value_column="plays")
    assert entries(got) == {("x/y", 7): 2, ("z", 8): 2}
    part = tmp_path / "p" / "u=__HIVE_DEFAULT_PARTITION__" / "part.parquet"
    part.parent.mkdir()
    pl.DataFrame({"item_id": [9]}).write_parquet(part)
    with pytest.raises(TypeError, match=r"missing id.*row 0 of .*__HIVE"):
        read_interactions(tmp_path / "p", user_column="u")


def test_files_without_a_known_name_in_a_folder(written, tmp_path):
    written("hive/000000_0", "1|2\n")
    written("hive/000001_0", "3|4\n")
    got = read_interactions(tmp_path / "hive", separator="|", columns=["user", "item"])
    assert set(entries(got)) == {(1, 2), (3, 4)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quote": "''"}, "`quote` must be one ASCII character"),
        ({"separator": ""}, "`separator` must be"),
        ({"decimal": "x"}, "`decimal` must be"),
        ({"columns": ["a", "a"]}, "`columns` must be names, none twice"),
        ({"id_type": "float"}, "`id_type` must be"),
        ({"time_unit": "m"}, "`time_unit` must be"),
        ({"separator": '"'}, "`quote` and `separator` are both"),
    ],
)
def test_options_that_make_no_sense(written, options, message):
    with pytest.raises(ValueError, match=message):
        read_interactions(written("e.csv", "user_id,item_id\n1,2\n"), **options)


def test_options_of_text_are_not_for_frames():
    frame = pl.DataFrame({"user_id": [1], "item_id": [2]})
    with pytest.raises(ValueError, match="`encoding` is for text files"):
        read_interactions(frame, encoding="latin-1")


def test_ratings_need_a_least_one_that_counts(written):
    path = written("e.csv", "user_id,item_id,stars\n1,2,1\n")
    with pytest.raises(ValueError, match="Ratings need `min_rating`"):
        read_interactions(path, rating_column="stars")
