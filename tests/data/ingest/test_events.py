"""Events in chunks, from arrays, frames and files, against dicts and loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from keras_multvae.data import Interactions, read_interactions
from keras_multvae.data.columns.csr import order_by, order_within_rows
from keras_multvae.data.ingest import events, files, frames, json_lines, text
from keras_multvae.data.ingest.numbering import encode

pytestmark = pytest.mark.once


@pytest.fixture(params=[7, events.CHUNK])
def chunk(request, monkeypatch):
    """Chunks of a few rows, and the size in use."""
    for module in (events, frames, files, json_lines):
        monkeypatch.setattr(module, "CHUNK", request.param)
    if request.param == 7:
        monkeypatch.setattr(text, "BLOCK", 50)


def oracle(table, min_rating, min_user_items, min_item_users, duplicates):
    """Ids of users and items, and the arrays of the entries, by the docstrings."""
    merged = {}
    for row, event in enumerate(table):
        if event["rating"] < min_rating or event["value"] == 0:
            continue
        pair = event["user_id"], event["item_id"]
        if pair not in merged:
            merged[pair] = [event["value"], event["time"], row]
        elif duplicates == "count":
            merged[pair][0] += event["value"]
    for side, minimum in ((1, min_item_users), (0, min_user_items)):
        times = {}
        for pair in merged:
            times[pair[side]] = times.get(pair[side], 0) + 1
        merged = {p: e for p, e in merged.items() if times[p[side]] >= minimum}
    users = sorted({user for user, _ in merged})
    items = list(
        dict.fromkeys(item for _, item in sorted(merged, key=lambda p: merged[p][2]))
    )
    entries = [
        (users.index(user), items.index(item), *entry)
        for (user, item), entry in merged.items()
    ]
    return (
        users,
        items,
        [np.array(column) for column in zip(*sorted(entries), strict=True)],
    )


def assert_equals_oracle(got, expected):
    users, items, (rows, columns, values, times, positions) = expected
    assert got.users.ids.tolist() == users
    assert got.items.ids.tolist() == items
    assert [type(i) for i in got.users.ids.tolist()] == [type(i) for i in users]
    for found, wanted, dtype in (
        (got.matrix.indptr, np.searchsorted(rows, np.arange(len(users) + 1)), "int32"),
        (got.matrix.indices, columns, "int32"),
        (got.matrix.data, values.astype("float32"), "float32"),
        (got.timestamps, times, "int64"),
        (got.positions, positions, "int64"),
    ):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, wanted)


COLUMNS = {
    "rating_column": "rating",
    "value_column": "value",
    "timestamp_column": "time",
}
FILTERS = {"min_rating": 2.5, "min_user_items": 3, "min_item_users": 2}


def make_table(seed, kind, size=200):
    rng = np.random.default_rng(seed)
    users, items = rng.integers(-4, 20, size), rng.integers(0, 30, size)
    if kind == "wide":  # ids too far apart for a table
        users, items = users * 2**58, items * 10**12
    if kind == "str":
        users = np.array([f"ü{user}" for user in users.tolist()], object)
        items = np.array([f'{item} "x", y' for item in items.tolist()], object)
    return pl.DataFrame(
        {
            "user_id": users,
            "item_id": items,
            "rating": rng.integers(1, 11, size) / 2,
            "value": rng.integers(0, 4, size) / 4,
            "time": rng.integers(0, 10**10, size),
        }
    )


def from_arrays(table, folder, **filters):
    return Interactions.from_events(
        table["user_id"].to_list(),
        table["item_id"].to_numpy(),
        ratings=table["rating"].to_numpy(),
        values=table["value"].to_list(),
        timestamps=table["time"].to_pandas(),
        **filters,
    )


def from_polars(table, folder, **filters):
    return Interactions.from_dataframe(table, **COLUMNS, **filters)


def from_pandas(table, folder, **filters):
    return read_interactions(table.to_pandas(), **COLUMNS, **filters)


def from_parquet(table, folder, **filters):
    for part, start in enumerate((0, 90, 91, 160)):
        rows = table[start : (90, 91, 160, len(table))[part]]
        if part == 1:
            rows = rows.with_columns(pl.col("rating").cast(pl.Float32))
        rows.write_parquet(folder / f"part-{part}.parquet", row_group_size=13)
    return read_interactions(folder, **COLUMNS, **filters)


def from_categories(table, folder, **filters):
    for name in ("user_id", "item_id"):
        if table[name].dtype == pl.String:
            table = table.with_columns(pl.col(name).cast(pl.Categorical))
    table.write_parquet(folder / "events.parquet")
    return read_interactions(folder / "events.parquet", **COLUMNS, **filters)


def from_csv(table, folder, **filters):
    table[:50].write_csv(folder / "0.csv")
    table[50:50].write_csv(folder / "1.csv")
    table[50:].to_pandas().to_csv(folder / "2.csv.gz", index=False)
    return read_interactions(folder, **COLUMNS, **filters)


@pytest.mark.parametrize("duplicates", ["collapse", "count"])
@pytest.mark.parametrize("kind", ["int", "wide", "str"])
@pytest.mark.parametrize(
    "source",
    [from_arrays, from_polars, from_pandas, from_parquet, from_categories, from_csv],
)
def test_every_source_equals_the_oracle(tmp_path, chunk, source, kind, duplicates):
    for seed in range(2):
        table = make_table(seed, kind)
        expected = oracle(table.to_dicts(), *FILTERS.values(), duplicates)
        got = source(table, tmp_path, **FILTERS, duplicates=duplicates)
        assert_equals_oracle(got, expected)
        assert got.counts["events"] == len(table)
        assert got.counts["entries"] == got.num_entries


def test_rows_are_named_from_the_start_of_the_source(tmp_path, chunk):
    table = make_table(0, "int")
    broken = table.with_columns(
        pl.when(pl.int_range(200) == 123).then(None).otherwise(pl.col(name)).alias(name)
        for name in ("item_id", "rating")
    )
    for part, start in enumerate((0, 100)):
        broken[start : start + 100].write_parquet(tmp_path / f"{part}.parquet")
    for source in (broken, tmp_path):
        with pytest.raises(TypeError, match=r"Bad item ids.*None.*at row 123.*: drop"):
            read_interactions(source)
    good = broken.with_columns(table["item_id"])
    with pytest.raises(ValueError, match=r"`ratings`.*nan.* at row 123"):
        read_interactions(good, rating_column="rating", min_rating=1)
    with pytest.raises(ValueError, match=r"Values must be .* -1.0 at row 123"):
        Interactions.from_events(
            table["user_id"],
            table["item_id"],
            values=np.where(np.arange(200) == 123, -1.0, 1.0),
        )


def test_ids_of_a_csv_file_are_ints_if_all_are(tmp_path, chunk):
    def users(*ids):
        rows = "".join(f"{user},1\n" for user in ids)
        (tmp_path / "events.csv").write_text(f"user_id,item_id\n{rows}")
        return read_interactions(tmp_path / "events.csv").users.ids.tolist()

    many = [str(user) for user in range(20)]
    assert users(*many, "-3") == [-3, *range(20)]
    for other in ("007", "-0", "-007", str(2**63), "\u0661"):
        assert users(*many, other) == sorted([*many, other])
    assert users(*many, "+7") == sorted([*many, "+7"])
    assert users(*many, "007", "x") == sorted([*many, "007", "x"])
    with pytest.raises(TypeError, match=r"Bad user ids.*'7.5'.*--id-type str"):
        users(*many, "7.5")


def test_true_and_false_are_numbers_in_a_csv_file(tmp_path):
    (tmp_path / "c.csv").write_text("user_id,item_id,clicked\n1,1,true\n1,2,false\n")
    got = read_interactions(tmp_path / "c.csv", value_column="clicked")
    assert got.items.ids.tolist() == [1]
    assert got.counts["events_lost_to_zero_value"] == 1


@pytest.mark.parametrize("bad", ["1,2,3", "\udcff,2"])
def test_an_error_far_down_a_file_is_an_error(tmp_path, bad):
    rows = "1,2\n" * (2 * events.CHUNK) + f"{bad}\n"
    path = tmp_path / "events.csv"
    path.write_bytes(f"user_id,item_id\n{rows}".encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"events.csv cannot be read as .csv"):
        read_interactions(path)


def test_a_name_is_no_pattern(tmp_path):
    for name in ("a[1].csv", "a1.csv"):
        (tmp_path / name).write_text(f"user_id,item_id\n{len(name)},1\n")
    assert read_interactions(tmp_path / "a[1].csv").users.ids.tolist() == [8]


def test_without_ratings_or_values_each_event_counts_one(chunk):
    got = Interactions.from_events(
        [1, 1, 2] * 5, ["a", "b", "a"] * 5, duplicates="count"
    )
    assert got.matrix.toarray().tolist() == [[5, 5], [5, 0]]
    assert got.timestamps is None


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_encoding_equals_unique(dtype):
    rng = np.random.default_rng(0)
    for size in (0, 1, 50):
        ids = rng.integers(0, 90, size).astype(dtype).astype("int64")
        for column in (ids, ids * 2**55 - 2**61):
            codes, unique = encode(column)
            expected = np.unique(column, return_inverse=True)
            np.testing.assert_array_equal(unique, expected[0])
            np.testing.assert_array_equal(codes, expected[1])
            assert (codes.dtype, unique.dtype) == (np.int32, np.int64)


def test_orders_equal_sorts():
    rng = np.random.default_rng(0)
    for size in (0, 1, 500):
        rows, columns = rng.integers(0, 9, size), rng.integers(0, 30, size)
        np.testing.assert_array_equal(
            order_by(rows, columns, (9, 30)), np.lexsort((columns, rows))
        )
        rows, columns = np.divmod(rng.permutation(270)[:size], 30)
        by_row = np.argsort(rows, kind="stable")
        indptr = np.searchsorted(rows[by_row], np.arange(10))
        order = order_within_rows(indptr, columns[by_row])
        np.testing.assert_array_equal(by_row[order], np.lexsort((columns, rows)))


def test_pandas_datetimes_with_a_gap_are_refused(chunk):
    times = pd.to_datetime(["2020-01-01"] * 9 + [None])
    frame = pd.DataFrame({"user_id": 1, "item_id": range(10), "at": times})
    with pytest.raises(ValueError, match=r"`timestamps` must be numbers.*at row 9"):
        Interactions.from_dataframe(frame, timestamp_column="at")
