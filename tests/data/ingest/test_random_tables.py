"""Random tables, written in each format and read back, against independent readers."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import datetime, timedelta

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from keras_multvae.data import read_interactions
from keras_multvae.data.ingest import events, frames, text

pytestmark = pytest.mark.once

NULLS = ["", "NULL", "\\N", "NaN"]
TRICKY = ["0012", "12", "-0", "-7", " 12", "12 ", "+1", "1e5", "1.0", "NULLL", "null"]
TRICKY += ['a"b', '"', '""', "a,b", "a\tb", "a::b", ":", "é", "日本", "#1", "\u2028"]
TRICKY += ["9223372036854775807", "9223372036854775808", "a\nb", "a\r\n\r\nb", "\\"]


def ids_of(alphabet):
    """Text that a vocabulary takes as an id: none of the spellings of nothing."""
    free = st.text(st.sampled_from("01a\"',;\t:|é \\x"), min_size=1, max_size=4)
    return (st.sampled_from(TRICKY) | free | st.integers(0, 30).map(str)).filter(
        lambda each: (
            each not in NULLS
            and alphabet(each)
            # "1.0" among digits alone is refused, which test_events.py tests.
            and not any(c in each for c in ".e")
        )
    )


def tables(alphabet=lambda each: True, most=12):
    """Rows of a user, an item, a value, a time and a name that nobody asks for."""
    user = st.none() | ids_of(alphabet)
    return st.lists(
        st.tuples(
            user,
            user,
            st.none() | st.integers(0, 400).map(lambda n: n / 4),
            st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),
            st.text(st.sampled_from("ab\"',;:é 7"), max_size=5).filter(alphabet),
        ),
        min_size=1,
        max_size=most,
    )


def expected(rows, text):
    """{(user, item): (value, time)} and counts, by the docstrings.

    `rows` are as an independent reader gave them; `text` says that their ids are text
    of which ints may be made.
    """
    whole = [row for row in rows if not any(v is None for v in row[:4])]
    kinds = []
    for column in (0, 1):
        ids = [row[column] for row in whole]
        ints = text and all(
            t.lstrip("-").isdigit() and str(int(t)) == t and abs(int(t)) < 2**63
            for t in ids
        )
        kinds.append(int if ints else lambda each: each)
    kept, zero = {}, 0
    for user, item, value, time, _ in whole:
        zero += value == 0
        if value:
            kept.setdefault((kinds[0](user), kinds[1](item)), (value, time))
    return kept, len(rows) - len(whole), zero


def compare(read, rows, text):
    kept, missing, zero = expected(rows, text)
    options = {"value_column": "plays", "timestamp_column": "at", "drop_missing": True}
    if not kept:
        with pytest.raises(ValueError, match="Nothing is left"):
            read(**options)
        return
    got = read(**options)
    assert got.counts["events"] == len(rows)
    assert got.counts["events_lost_to_missing"] == missing
    assert got.counts["events_lost_to_zero_value"] == zero
    nanoseconds = [0] * got.num_entries if got.fractions is None else got.fractions
    users, items = got.users.ids.tolist(), got.items.ids.tolist()
    found = {
        (users[row], items[column]): (
            value,
            datetime(1970, 1, 1)
            + timedelta(seconds=seconds, microseconds=int(part) // 1000),
        )
        for row, column, value, seconds, part in zip(
            got.rows.tolist(),
            got.matrix.indices.tolist(),
            got.matrix.data.tolist(),
            got.timestamps.tolist(),
            nanoseconds,
            strict=True,
        )
    }
    # 12 and "12" are not equal, so this compares the kinds of ids too.
    assert found == kept


HEADER = ["user_id", "item_id", "plays", "at", "name"]


def written(row, null):
    return [null if cell is None else str(cell) for cell in row]


def parsed(cells):
    """A row of text as an independent reader gave it."""
    user, item, value, time, name = cells
    return (
        None if user in NULLS else user,
        None if item in NULLS else item,
        None if value in NULLS else float(value),
        datetime.fromisoformat(time),
        name,
    )


@pytest.fixture(params=[40, text.BLOCK], ids=["small blocks", "one block"])
def blocks(request, monkeypatch):
    if request.param == 40:
        monkeypatch.setattr(text, "BLOCK", 40)
        for module in (events, frames):
            monkeypatch.setattr(module, "CHUNK", 3)


# Failing tables are short anyway, and to make them shorter takes minutes.
ROUNDS = settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("separator", [",", ";", "\t", "::"])
@given(tables(), st.sampled_from(NULLS), st.data())
@ROUNDS
def test_quoted_text(tmp_path, blocks, separator, rows, null, data):
    # A colon beside two others could be the end of either field, were it not quoted.
    styles = [csv.QUOTE_ALL, csv.QUOTE_MINIMAL][: 3 - len(separator)]
    quoting = data.draw(st.sampled_from(styles))
    one = separator if len(separator) == 1 else "\x00"
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=one, quoting=quoting, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(written(row, null) for row in rows)
    content = file.getvalue()
    ending = data.draw(st.sampled_from(["\n", "", "\n\n"]))
    content = content.removesuffix("\n") + ending
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=one)
    told = list(map(parsed, [cells for cells in reader if cells][1:]))
    assert len(told) == len(rows)
    content = content.replace(one, separator)
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    path = tmp_path / "e.csv"
    path.write_bytes(content.encode(encoding))
    compare(
        lambda **options: read_interactions(
            path, separator=separator, quote='"', encoding=encoding, **options
        ),
        told,
        True,
    )


@pytest.mark.parametrize("separator", ["\t", "::", "|"])
@given(st.data())
@ROUNDS
def test_text_without_quotes(tmp_path, blocks, separator, data):
    def fits(each):
        return "\n" not in each and "\r" not in each and separator[0] not in each

    rows = data.draw(tables(fits))
    null = data.draw(st.sampled_from(NULLS))
    lines = [separator.join(written(row, null)) for row in rows]
    path = tmp_path / "e.tsv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    told = [parsed(line.split(separator)) for line in lines]
    columns = ["user", "item", "plays", "at", "name"]
    compare(
        lambda **options: read_interactions(
            path, separator=separator, quote="none", columns=columns, **options
        ),
        told,
        True,
    )


def typed(rows):
    """Columns by name, with ints in place of text wherever all of a column can be."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    for place in (0, 1):
        texts = [t for t in columns[place] if t is not None]
        # pandas makes floats of ints beside missing values, which hold no more.
        if all(t.isdigit() and str(int(t)) == t and int(t) < 2**53 for t in texts):
            columns[place] = [None if t is None else int(t) for t in columns[place]]
    return dict(zip(HEADER, columns, strict=True))


def as_read(rows):
    """Rows of a table that pyarrow read."""
    return [
        (
            *(row[name] for name in HEADER[:3]),
            row["at"]
            if isinstance(row["at"], datetime)
            else datetime.fromisoformat(row["at"]),
            row["name"],
        )
        for row in rows
    ]


def filled(rows):
    """Whether no column is missing altogether, which would have no type."""
    return all(any(row[place] is not None for row in rows) for place in (0, 1, 2))


@given(tables().filter(filled))
@ROUNDS
def test_parquet_and_frames(tmp_path, blocks, rows):
    table = pa.table(typed(rows))
    path = tmp_path / "e.parquet"
    pa.parquet.write_table(table, path, row_group_size=5)
    told = as_read(pa.parquet.read_table(path).to_pylist())
    on_arrow = table.to_pandas(types_mapper=pd.ArrowDtype)
    for source in (path, pl.read_parquet(path), table.to_pandas(), on_arrow):
        compare(lambda source=source, **o: read_interactions(source, **o), told, False)


@given(tables().filter(filled))
@ROUNDS
def test_json_lines(tmp_path, blocks, rows):
    columns = typed(rows)
    columns["at"] = [each.isoformat(" ") for each in columns["at"]]
    lines = [
        json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
        for row in zip(*columns.values(), strict=True)
    ]
    path = tmp_path / "e.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    schema = pa.schema([("at", pa.string()), ("name", pa.string())])
    options = pa.json.ParseOptions(explicit_schema=schema)
    told = as_read(pa.json.read_json(path, parse_options=options).to_pylist())
    compare(lambda **o: read_interactions(path, **o), told, False)
