"""Times of every kind and from every kind of column, against datetime."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_multvae.data import Interactions, read_interactions
from keras_multvae.data.ingest.times import Clock
from keras_multvae.data.vocabulary import row_at

pytestmark = pytest.mark.once

HALF = 500_000_000
EAST = timezone(timedelta(hours=5, minutes=30))
# The same three instants: a second apart, the last a half later.
SECONDS = [1614592800, 1614592801, 1614592802]
AWARE = [
    datetime(2021, 3, 1, 10, tzinfo=UTC),
    datetime(2021, 3, 1, 15, 30, 1, tzinfo=EAST),
    datetime(2021, 3, 1, 10, 0, 2, HALF // 1000, tzinfo=UTC),
]
NAIVE = [each.astimezone(UTC).replace(tzinfo=None) for each in AWARE]
ISO = ["2021-03-01T10:00Z", "2021-03-01 15:30:01+05:30", "2021-03-01 10:00:02.5"]
INDEX = pd.DatetimeIndex(NAIVE).as_unit("ns").tz_localize("UTC")

COLUMNS = {
    "seconds": [1614592800, 1614592801, 1614592802.5],
    "milliseconds": [1614592800000, 1614592801000, 1614592802500],
    "milliseconds, float": [1614592800000.0, 1614592801000.0, 1614592802500.0],
    "microseconds": pl.Series([1614592800000000, 1614592801000000, 1614592802500000]),
    "nanoseconds": np.array(SECONDS) * 10**9 + [0, 0, HALF],
    "datetimes": NAIVE,
    "datetimes with zones": AWARE,
    "datetime64[ms]": np.array(NAIVE, "datetime64[ms]"),
    "datetime64[ns]": np.array(NAIVE, "datetime64[ns]"),
    "datetime64, one by one": list(np.array(NAIVE, "datetime64[us]")),
    "Timestamps": list(INDEX),
    "text": ISO,
    "array of text": np.array(ISO),
    "pandas": pd.Series(NAIVE),
    "pandas with a zone": pd.Series(INDEX.tz_convert("Asia/Kolkata")),
    "pandas, an index with a zone": INDEX.tz_convert("Asia/Kolkata"),
    "pandas, text": pd.Series(ISO),
    "pandas on arrow": pd.Series(INDEX).astype("timestamp[us, tz=UTC][pyarrow]"),
    "polars": pl.Series(NAIVE),
    "polars with a zone": pl.Series(NAIVE).dt.replace_time_zone("UTC"),
    "polars, text": pl.Series(ISO),
    "arrow": pa.array(NAIVE),
    "arrow with a zone": pa.array(NAIVE, pa.timestamp("ms", "Asia/Kolkata")),
    "arrow, chunked": pa.chunked_array([AWARE[:1], AWARE[1:]]),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_every_kind_of_time(case):
    got = Interactions.from_events([1, 1, 1], [3, 4, 5], timestamps=COLUMNS[case])
    assert got.timestamps.tolist() == SECONDS
    assert got.fractions.tolist() == [0, 0, HALF]
    assert got.fractions.dtype == np.int32


DATES = {
    "dates": [date(2021, 3, 1), date(1969, 12, 31)],
    "text": ["2021-03-01", "1969-12-31"],
    "datetime64[D]": np.array(["2021-03-01", "1969-12-31"], "datetime64[D]"),
    "pandas on arrow": pd.Series(
        [date(2021, 3, 1), date(1969, 12, 31)], dtype="date32[pyarrow]"
    ),
    "arrow": pa.array([date(2021, 3, 1), date(1969, 12, 31)]),
    "polars": pl.Series([date(2021, 3, 1), date(1969, 12, 31)]),
}


@pytest.mark.parametrize("case", DATES)
def test_every_kind_of_date(case):
    got = Interactions.from_events([1, 1], [3, 4], timestamps=DATES[case])
    assert got.timestamps.tolist() == [1614556800, -86400]
    assert got.fractions is None


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("case", ["seconds", "milliseconds", "text", "polars"])
def test_every_kind_of_file(tmp_path, kind, case):
    path = tmp_path / f"e.{kind}"
    column = pl.Series(COLUMNS[case], strict=False)
    frame = pl.DataFrame({"user_id": [1, 1, 1], "item_id": [3, 4, 5], "at": column})
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_csv(path, separator="," if kind == "csv" else "\t")
    got = read_interactions(path, timestamp_column="at")
    assert got.timestamps.tolist() == SECONDS
    assert got.fractions.tolist() == [0, 0, HALF]


@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
    st.integers(-23 * 60, 23 * 60),
    st.sampled_from(" T"),
    st.sampled_from(["auto", "hours", "minutes", "seconds", "milliseconds"]),
)
def test_iso_text_equals_datetime(when, minutes, mark, precision):
    zone = timezone(timedelta(minutes=minutes))
    text = when.replace(tzinfo=zone).isoformat(mark, precision)
    if precision == "hours":
        text = when.date().isoformat()
    expected = datetime.fromisoformat(text)
    if expected.tzinfo is None:
        expected = expected.replace(tzinfo=UTC)
    since = expected - datetime(1970, 1, 1, tzinfo=UTC)
    got = Clock().times([text], row_at)
    assert got.seconds.tolist() == [since.days * 86400 + since.seconds]
    fraction = 0 if got.fractions is None else got.fractions[0]
    assert fraction == since.microseconds * 1000


BAD = {
    "no such day": (["2021-02-30"], r"'2021-02-30' at row 0"),
    "no such hour": (["2021-02-03", "2021-02-03 24:00"], r"24:00' at row 1"),
    "a word": (["2021-02-03", "soon"], r"numbers or times.*ISO text.*'soon' at row 1"),
    "another order": (["03.02.2021"], r"03.02.2021"),
    "several kinds": ([datetime(2021, 1, 1), 7], r"numbers or times.*7 at row 1"),
    "infinite": ([1.0, np.inf], r"must be finite.*inf at row 1"),
    "bools": ([True, False], r"numbers or times.*True at row 0"),
    "two units": ([1614592800, 1614592800000], r"of one unit.*row 1.*row 0.*time_unit"),
    "missing": ([None, 3], r"None at row 0.*drop_missing"),
    "missing datetime": (pd.to_datetime(["2021-01-01", None]), r"NaT.* at row 1"),
    "missing text": (pl.Series(["2021-01-01", None]), r"None at row 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_time(case):
    column, message = BAD[case]
    rows = range(len(column))
    with pytest.raises(ValueError, match=rf"`timestamps`.*{message}"):
        Interactions.from_events(rows, rows, timestamps=column)


def test_the_unit_of_numbers():
    def seconds(*times, **unit):
        got = Interactions.from_events(
            [1] * len(times), range(len(times)), timestamps=times, **unit
        )
        parts = np.zeros(len(times)) if got.fractions is None else got.fractions
        return list(zip(got.timestamps.tolist(), parts.tolist(), strict=True))

    # Zero is the same instant in every unit.
    assert seconds(0, 10**11) == [(0, 0), (10**8, 0)]
    assert seconds(0, 10**11 - 1) == [(0, 0), (10**11 - 1, 0)]
    assert seconds(10**11, 5, time_unit="s") == [(10**11, 0), (5, 0)]
    assert seconds(1500, -500, time_unit="ms") == [(1, HALF), (-1, HALF)]
    assert seconds(1, time_unit="us") == [(0, 1000)]
    assert seconds(2**62 + 1, time_unit="ns") == [divmod(2**62 + 1, 10**9)]


def test_a_unit_that_changes_from_chunk_to_chunk(tmp_path):
    for part, time in enumerate((1614592800, 1614592800000)):
        pl.DataFrame({"user_id": [1], "item_id": [part], "at": [time]}).write_parquet(
            tmp_path / f"{part}.parquet"
        )
    with pytest.raises(ValueError, match=r"in s at first.*in ms at row 1 .*1.parquet"):
        read_interactions(tmp_path, timestamp_column="at")


def test_fractions_that_only_later_chunks_have(tmp_path):
    for part, time in enumerate((1, 2.5, 3)):
        pl.DataFrame({"user_id": [1], "item_id": [part], "at": [time]}).write_csv(
            tmp_path / f"{part}.csv"
        )
    got = read_interactions(tmp_path, timestamp_column="at")
    assert got.timestamps.tolist() == [1, 2, 3]
    assert got.fractions.tolist() == [0, HALF, 0]


def test_long_times_beside_a_missing_one_lose_nothing():
    when = 1614592800123456789
    got = Interactions.from_events(
        [1, 1], [2, 3], timestamps=pl.Series([when, None]), drop_missing=True
    )
    assert divmod(when, 10**9) == (got.timestamps[0], got.fractions[0])
    assert got.counts["events_lost_to_missing"] == 1
