"""Interactions: filters and numbering against plain Python, and bad input."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from keras_multvae.data import Interactions, Vocabulary

pytestmark = pytest.mark.once


def brute_force(rows, min_rating, min_user_items, min_item_users, duplicates):
    """The protocol with dicts and loops: {(user, item): (value, time, row)}, items."""
    entries = {}
    for row, (user, item, rating, value, time) in enumerate(rows):
        if rating < min_rating or value == 0:
            continue
        if (user, item) not in entries:
            entries[user, item] = [value, time, row]
        elif duplicates == "count":
            entries[user, item][0] += value
    for side, minimum in ((1, min_item_users), (0, min_user_items)):
        number = {}
        for pair in entries:
            number[pair[side]] = number.get(pair[side], 0) + 1
        entries = {p: e for p, e in entries.items() if number[p[side]] >= minimum}
    in_file_order = sorted(entries, key=lambda pair: entries[pair][2])
    items = list(dict.fromkeys(item for _, item in in_file_order))
    return entries, items


@pytest.mark.parametrize("duplicates", ["collapse", "count"])
@pytest.mark.parametrize("kind", ["int", "str"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_filters_and_order_equal_brute_force(seed, kind, duplicates):
    rng = np.random.default_rng(seed)
    size = 300
    users, items = rng.integers(-5, 25, size), rng.integers(0, 40, size)
    if kind == "str":
        users, items = users.astype(str), items.astype(str)
    columns = {
        "ratings": rng.integers(1, 6, size),
        "values": rng.integers(0, 4, size).astype(float),
        "timestamps": rng.integers(0, 10**9, size),
    }
    filters = {"min_rating": 2, "min_user_items": 4, "min_item_users": 3}
    got = Interactions.from_events(
        users, items, **columns, **filters, duplicates=duplicates
    )
    rows = zip(users.tolist(), items.tolist(), *columns.values(), strict=True)
    expected, item_order = brute_force(rows, *filters.values(), duplicates)

    assert got.users.ids.tolist() == sorted({user for user, _ in expected})
    assert got.items.ids.tolist() == item_order
    found = {
        (got.users.ids[row], got.items.ids[column]): [value, time, position]
        for row, column, value, time, position in zip(
            got.rows,
            got.matrix.indices,
            got.matrix.data,
            got.timestamps,
            got.positions,
            strict=True,
        )
    }
    assert found == expected
    assert got.num_entries == len(expected)
    # SciPy recomputes these two on a matrix that does not carry our flags.
    unflagged = sparse.csr_matrix(
        (got.matrix.data, got.matrix.indices, got.matrix.indptr), got.matrix.shape
    )
    assert unflagged.has_sorted_indices and unflagged.has_canonical_format
    assert got.matrix.dtype == np.float32
    assert got.matrix.indices.dtype == np.int32
    counts = got.counts
    assert counts["events"] == size
    assert counts["entries"] == len(expected)
    assert size - counts["entries"] == sum(
        number
        for name, number in counts.items()
        if name.startswith(("events_lost", "entries_lost"))
    )


def test_filters_run_once_items_first():
    # Item "b" has two users until user 2 goes for having one item: it stays.
    got = Interactions.from_events(
        [1, 1, 2, 3, 3, 4, 4], list("abbacaz"), min_item_users=2, min_user_items=2
    )
    assert got.users.ids.tolist() == [1]
    assert got.items.ids.tolist() == ["a", "b"]
    assert got.counts["items_lost_to_min_item_users"] == 2
    assert got.counts["users_lost_to_min_user_items"] == 3


@pytest.mark.parametrize("least", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_core_is_what_repeated_filters_leave(seed, least):
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 25, 120), rng.integers(0, 25, 120)
    left = set(zip(users.tolist(), items.tolist(), strict=True))
    before = left
    while True:
        of_users, of_items = (Counter(pair[side] for pair in left) for side in (0, 1))
        kept = {
            (user, item)
            for user, item in left
            if of_users[user] >= least and of_items[item] >= least
        }
        if kept == left:
            break
        left = kept
    if not left:
        with pytest.raises(ValueError, match=r"Nothing is left.*entries\) to k_core"):
            Interactions.from_events(users, items, k_core=least)
        return
    got = Interactions.from_events(users, items, k_core=least)
    rows = zip(got.rows, got.matrix.indices, strict=True)
    assert {(got.users.ids[u], got.items.ids[i]) for u, i in rows} == left
    order = dict.fromkeys(
        i for u, i in zip(users.tolist(), items.tolist(), strict=True) if (u, i) in left
    )
    assert got.items.ids.tolist() == list(order)
    assert got.counts["entries_lost_to_k_core"] == len(before) - len(left)
    for side, name in ((0, "users"), (1, "items")):
        lost = {pair[side] for pair in before} - {pair[side] for pair in left}
        assert got.counts[f"{name}_lost_to_k_core"] == len(lost)


def test_a_core_takes_no_other_least_numbers():
    with pytest.raises(ValueError, match="leave out `min_user_items`"):
        Interactions.from_events([1], [2], k_core=1, min_user_items=2)
    with pytest.raises(ValueError, match="`k_core` must be"):
        Interactions.from_events([1], [2], k_core=0)


SAME_IDS = {
    "list": [3, 1, 3],
    "arrow": pa.array([3, 1, 3]),
    "arrow, chunked": pa.chunked_array([[3, 1], [3]]),
    "pandas, nullable": pd.Series([3, 1, 3], dtype="Int64"),
    "pandas on arrow": pd.Series([3, 1, 3], dtype="int32[pyarrow]"),
    "polars": pl.Series([3, 1, 3]),
    "iterator": None,
}


@pytest.mark.parametrize("case", SAME_IDS)
def test_ids_of_every_kind_of_column(case):
    column = iter([3, 1, 3]) if case == "iterator" else SAME_IDS[case]
    got = Interactions.from_events(column, ["a", "b", "c"])
    assert got.users.ids.tolist() == [1, 3]


BIG = 2**60 + 1
WITH_GAPS = {
    "list": [BIG, None, 7],
    "objects": np.array([BIG, np.nan, 7], object),
    "arrow": pa.array([BIG, None, 7]),
    "pandas, nullable": pd.Series([BIG, None, 7], dtype="Int64"),
    "pandas on arrow": pd.Series([BIG, None, 7], dtype="int64[pyarrow]"),
    "polars": pl.Series([BIG, None, 7]),
}


@pytest.mark.parametrize("case", WITH_GAPS)
def test_ids_beside_a_missing_one_lose_nothing(case):
    with pytest.raises(TypeError, match=r"Bad item ids.* at row 1.*drop_missing"):
        Interactions.from_events([1, 1, 1], WITH_GAPS[case])
    got = Interactions.from_events([1, 1, 2], WITH_GAPS[case], drop_missing=True)
    assert got.items.ids.tolist() == [BIG, 7]
    assert got.positions.tolist() == [0, 2]
    assert got.counts["events_lost_to_missing"] == 1
    assert got.counts["events"] == 3


def test_ints_that_pandas_made_floats_of_are_ints_again():
    column = pd.Series([5, None, 7])
    with pytest.raises(TypeError, match="Bad user ids"):
        Interactions.from_events(column, [1, 2, 3])
    got = Interactions.from_events(column, [1, 2, 3], drop_missing=True)
    assert got.users.ids.tolist() == [5, 7]
    with pytest.raises(TypeError, match="Bad user ids"):
        Interactions.from_events([5.0, None, 7.5], [1, 2, 3], drop_missing=True)


def test_id_type():
    events = {"users": [1, 2], "items": ["7", "07"]}
    got = Interactions.from_events(**events, id_type="str")
    assert got.users.ids.tolist() == ["1", "2"]
    with pytest.raises(ValueError, match=r"Bad item ids.*'07'"):
        Interactions.from_events(**events, id_type="int")
    got = Interactions.from_events([1, 2], ["7", "8"], id_type="int")
    assert got.items.ids.tolist() == [7, 8]


def test_text_takes_the_kind_of_the_items_that_it_is_put_over():
    clicks = Interactions.from_events([1, 1, 1], ["7", "07", "x"])
    assert clicks.with_items(Vocabulary([7, 8])).matrix.toarray().tolist() == [[1, 0]]


def test_users_sort_by_number_or_letter():
    ids = [10, 9, -1, 100]
    assert Interactions.from_events(ids, list("abcd")).users.ids.tolist() == [
        -1,
        9,
        10,
        100,
    ]
    got = Interactions.from_events([str(i) for i in ids], list("abcd"))
    assert got.users.ids.tolist() == ["-1", "10", "100", "9"]


def test_duplicates_collapse_to_the_first_or_add_up():
    events = {"users": [1, 1, 1], "items": [5, 5, 6], "timestamps": [30, 10, 20]}
    once = Interactions.from_events(**events)
    assert once.matrix.toarray().tolist() == [[1, 1]]
    assert once.timestamps.tolist() == [30, 20]
    assert once.positions.tolist() == [0, 2]
    assert once.counts["events_lost_as_duplicates"] == 1
    counted = Interactions.from_events(**events, duplicates="count")
    assert counted.matrix.toarray().tolist() == [[2, 1]]
    weighed = Interactions.from_events(
        **events, values=[0.5, 0.25, 3], duplicates="count"
    )
    assert weighed.matrix.toarray().tolist() == [[0.75, 3]]
    first = Interactions.from_events(**events, values=[0.5, 0.25, 3])
    assert first.matrix.toarray().tolist() == [[0.5, 3]]


def test_duplicates_count_as_one_item_of_a_user():
    with pytest.raises(ValueError, match="1 duplicate events"):
        Interactions.from_events([1, 1], ["a", "a"], min_user_items=2)


def test_a_rating_at_the_threshold_is_kept():
    got = Interactions.from_events(
        [1, 1, 1], [1, 2, 3], ratings=[4.0, 3.5, 5], min_rating=4
    )
    assert got.items.ids.tolist() == [1, 3]


@pytest.mark.parametrize(
    "times",
    [
        np.array(["1970-01-02", "1970-01-01T00:00:07"], "datetime64[ns]"),
        [86400.0, 7.9],
        np.array([86400, 7], "uint32"),
    ],
)
def test_timestamps_become_seconds(times):
    got = Interactions.from_events([1, 2], [1, 2], timestamps=times)
    assert got.timestamps.dtype == np.int64
    assert got.timestamps.tolist() == [86400, 7]


BAD = {
    "NaN rating": ({"ratings": [5, np.nan]}, "`ratings` must be numbers.*nan.*row 1"),
    "missing rating": ({"ratings": [None, 4]}, "`ratings`.*None at row 0"),
    "text rating": ({"ratings": ["5", "good"]}, "`ratings`.*'5'.* at row 0 .2 such"),
    "short ratings": ({"ratings": [5]}, r"`ratings`.*\(2,\).*\(1,\)"),
    "negative value": ({"values": [1, -2]}, "finite and >= 0.*-2 at row 1"),
    "infinite value": ({"values": [np.inf, 1]}, "finite and >= 0.*inf at row 0"),
    "NaN value": ({"values": [1, np.nan]}, "`values` must be numbers.*row 1"),
    "NaN time": ({"timestamps": [1, np.nan]}, "`timestamps` must be numbers"),
    "infinite time": ({"timestamps": [1, np.inf]}, "`timestamps` must be finite"),
    "no time": (
        {"timestamps": np.array(["2020-01-01", "NaT"], "datetime64[s]")},
        "`timestamps` must be numbers",
    ),
    "no ratings": ({"min_rating": 4}, "`min_rating`=4 needs ratings"),
    "zero minimum": ({"min_user_items": 0}, "`min_user_items` must be an integer >= 1"),
    "bad duplicates": ({"duplicates": "sum"}, "`duplicates`.*'sum'"),
    "unequal ids": ({"items": [1]}, "2 users, 1 items"),
    "mixed user ids": ({"users": [1, "a"]}, "Bad user ids.*'a'"),
    "missing item id": ({"items": [1, None]}, "Bad item ids.*None"),
    "no events": ({"users": [], "items": []}, "no events"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_events_are_refused(case):
    changed, text = BAD[case]
    with pytest.raises((ValueError, TypeError), match=text):
        Interactions.from_events(**{"users": [1, 2], "items": [1, 2], **changed})


def test_nothing_left_says_what_each_filter_took():
    with pytest.raises(ValueError) as caught:
        Interactions.from_events(
            [1, 1, 1, 2, 2, 3],
            list("aabcdd"),
            ratings=[5, 5, 5, 5, 5, 1],
            values=[1, 1, 1, 0, 1, 1],
            min_rating=4,
            min_user_items=3,
            min_item_users=1,
        )
    for part in (
        "6 events of 3 users and 4 items",
        "1 events to min_rating",
        "1 events of value 0",
        "1 duplicate events",
        "0 items (0 entries) to min_item_users",
        "2 users (3 entries) to min_user_items",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("library", [pd, pl])
def test_dataframes_of_both_libraries(library):
    frame = library.DataFrame(
        {"who": ["x", "y"], "what": [3, 4], "stars": [5.0, 4.5], "at": [10, 20]}
    )
    names = {"user_column": "who", "item_column": "what", "rating_column": "stars"}
    got = Interactions.from_dataframe(
        frame, **names, timestamp_column="at", min_rating=4.5
    )
    assert got.users.ids.tolist() == ["x", "y"]
    assert got.timestamps.tolist() == [10, 20]
    with pytest.raises(
        ValueError, match=r"no column 'user_id', 'item_id'. Columns found: 'who'"
    ):
        Interactions.from_dataframe(frame)


def test_polars_and_pandas_datetimes():
    times = pd.to_datetime(["2020-01-01", "2020-01-02"])
    frame = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "at": times})
    for df in (frame, pl.DataFrame(frame.to_dict("list"))):
        got = Interactions.from_dataframe(df, timestamp_column="at")
        assert got.timestamps.tolist() == [1577836800, 1577923200]


def test_no_dataframe():
    with pytest.raises(TypeError, match=r"Received: LazyFrame.*collected"):
        Interactions.from_dataframe(pl.LazyFrame({"user_id": [1]}))
    with pytest.raises(TypeError, match="Received: dict"):
        Interactions.from_dataframe({"user_id": [1]})


def test_from_matrix_leaves_its_source_alone():
    source = sparse.coo_array(
        ([1.0, 2.0, 0.0, 3.0], ([0, 0, 1, 1], [2, 2, 0, 1])), shape=(2, 3)
    )
    got = Interactions.from_matrix(source, users=["u", "v"])
    assert got.matrix.toarray().tolist() == [[0, 0, 3], [0, 3, 0]]
    assert got.num_entries == 2
    assert got.users == Vocabulary(["u", "v"])
    assert got.items == Vocabulary([0, 1, 2])
    assert source.nnz == 4
    unsorted = sparse.csr_matrix(([1.0, 2.0], [2, 0], [0, 2]), shape=(1, 3))
    Interactions.from_matrix(unsorted)
    assert unsorted.indices.tolist() == [2, 0]


def test_from_matrix_refuses():
    with pytest.raises(ValueError, match=r">= 0.*-1"):
        Interactions.from_matrix(sparse.csr_matrix([[1.0, -1.0]]))
    with pytest.raises(ValueError, match="nan"):
        Interactions.from_matrix(sparse.csr_matrix([[1.0, np.nan]]))
    with pytest.raises(TypeError, match="ndarray"):
        Interactions.from_matrix(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 3\)"):
        Interactions.from_matrix(sparse.eye(3), users=["u", "v"])


@pytest.fixture
def clicks():
    rng = np.random.default_rng(5)
    events = Interactions.from_events(
        rng.integers(0, 9, 60),
        rng.integers(100, 120, 60),
        values=rng.integers(1, 5, 60),
        timestamps=rng.integers(0, 1000, 60),
    )
    weights = np.linspace(0, 1, events.num_users)
    return Interactions(
        events.matrix,
        events.users,
        events.items,
        events.timestamps,
        events.positions,
        weights,
    )


def as_tuples(interactions):
    return {
        (
            interactions.users.ids[row],
            interactions.items.ids[column],
            interactions.matrix[row, column],
            interactions.timestamps[entry],
            interactions.positions[entry],
        )
        for entry, (row, column) in enumerate(
            zip(interactions.rows, interactions.matrix.indices, strict=True)
        )
    }


def test_select_users_keeps_everything_aligned(clicks):
    some = clicks.select_users([4, 0, 7])
    assert some.users.ids.tolist() == clicks.users.ids[[4, 0, 7]].tolist()
    assert as_tuples(some) == {
        t for t in as_tuples(clicks) if t[0] in set(some.users.ids)
    }
    assert (some.matrix != clicks.matrix[[4, 0, 7]]).nnz == 0
    np.testing.assert_array_equal(some.user_weights, clicks.user_weights[[4, 0, 7]])
    assert clicks.select_users([]).num_users == 0
    for bad in ([-1], [9], [0.5], [True]):
        with pytest.raises(IndexError, match="User indices"):
            clicks.select_users(bad)


def test_with_items_reorders_and_drops(clicks):
    items = Vocabulary([999, *clicks.items.ids[[5, 1, 3]].tolist()])
    some = clicks.with_items(items)
    assert some.items == items
    assert some.users == clicks.users
    assert as_tuples(some) == {
        t for t in as_tuples(clicks) if t[1] in set(items.ids.tolist())
    }
    dense = np.zeros((clicks.num_users, 4), "float32")
    dense[:, 1:] = clicks.matrix.toarray()[:, [5, 1, 3]]
    np.testing.assert_array_equal(some.matrix.toarray(), dense)
    assert some.matrix.copy().has_sorted_indices
    np.testing.assert_array_equal(some.user_weights, clicks.user_weights)


def test_select_entries(clicks):
    mask = clicks.timestamps < 500
    early, late = clicks.select_entries(mask), clicks.select_entries(~mask)
    assert as_tuples(early) | as_tuples(late) == as_tuples(clicks)
    assert early.timestamps.max() < 500 <= late.timestamps.min()
    np.testing.assert_array_equal(
        (early.matrix + late.matrix).toarray(), clicks.matrix.toarray()
    )


def test_parts_that_do_not_fit_are_refused(clicks):
    parts = (clicks.matrix, clicks.users, clicks.items)
    with pytest.raises(ValueError, match="`timestamps` must have one number an entry"):
        Interactions(*parts, timestamps=clicks.timestamps[:-1])
    for weights in ([1.0], [-1.0] * 9, [np.inf] * 9, [np.nan] * 9):
        with pytest.raises(ValueError, match="`user_weights`"):
            Interactions(*parts, user_weights=weights)
    with pytest.raises(ValueError, match=r"\(users, items\)"):
        Interactions(clicks.matrix.T.tocsr(), clicks.users, clicks.items)
    with pytest.raises(TypeError, match="CSR"):
        Interactions(clicks.matrix.tocsc(), clicks.users, clicks.items)


def test_repr_is_short(clicks):
    assert len(repr(clicks)) < 60
    assert all(len(f"{part!r}") < 60 for part in itertools.chain([clicks.users]))


def test_a_matrix_that_is_not_in_order_is_refused():
    users, items = Vocabulary([1]), Vocabulary(["a", "b", "c"])
    for data, indices in (([1, 1], [2, 0]), ([1, 1], [1, 1]), ([1, 0], [0, 1])):
        matrix = sparse.csr_matrix((data, indices, [0, 2]), shape=(1, 3))
        with pytest.raises(ValueError, match=r"in order, none twice and none with a 0"):
            Interactions(matrix, users, items)
        cleaned = Interactions.from_matrix(matrix, users, items)
        np.testing.assert_array_equal(cleaned.matrix.toarray(), matrix.toarray())
