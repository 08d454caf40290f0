"""Histories in every form that they come in mean what the list of lists means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from keras_multvae import EASE, Recommender
from keras_multvae.data import FoldIn, Interactions, UnknownIdError
from keras_multvae.recommender.histories import as_rows, matrix_of

pytestmark = pytest.mark.once

CLICKS = Interactions.from_matrix(
    sparse.random(30, 8, 0.4, format="csr", rng=1).astype(bool).astype("float32"),
    items=range(10, 18),
)
ONE = [11, 13, 14]
SEVERAL = [[11, 13, 14], [], [12], [15, 16]]


@pytest.fixture(scope="module")
def recommender():
    return Recommender(EASE(8, 5.0).fit(CLICKS), CLICKS.items, histories=CLICKS)


def matrix(rows=SEVERAL):
    return matrix_of(rows, CLICKS.items, "raise")


SINGLE = {
    "tuple": lambda: tuple(ONE),
    "set": lambda: set(ONE),
    "frozenset": lambda: frozenset(ONE),
    "dict keys": lambda: dict.fromkeys(ONE).keys(),
    "counts": lambda: dict.fromkeys(ONE, 1),
    "counts with zeros": lambda: {11: 1.0, 12: 0, 13: np.float32(1), 14: np.int8(1)},
    "map": lambda: map(int, ["11", "13", "14"]),
    "generator": lambda: (item for item in ONE),
    "iterator": lambda: iter(ONE),
    "array": lambda: np.array(ONE),
    "array of int32": lambda: np.array(ONE, "int32"),
    "list of NumPy ints": lambda: list(np.array(ONE)),
    "object array": lambda: np.array(ONE, object),
    "Series": lambda: pd.Series(ONE, index=[5, 5, 7]),
    "Index": lambda: pd.Index(ONE),
    "pandas' nullable ints": lambda: pd.Series(ONE, dtype="Int64"),
    "polars": lambda: pl.Series(ONE),
    "pyarrow": lambda: pa.array(ONE),
    "pyarrow, chunked": lambda: pa.chunked_array([ONE[:1], ONE[1:]]),
    "repeated": lambda: [11, 11, 13, 14, 13],
}
MANY = {
    "tuples": lambda: tuple(map(tuple, SEVERAL)),
    "frozensets": lambda: list(map(frozenset, SEVERAL)),
    "sets": lambda: iter(map(set, SEVERAL)),
    "ranges": lambda: [[11, 13, 14], range(0), range(12, 13), range(15, 17)],
    "generator of iterators": lambda: (iter(row) for row in SEVERAL),
    "arrays": lambda: [np.array(row, "int64") for row in SEVERAL],
    "list of Series": lambda: [pd.Series(row, dtype="int64") for row in SEVERAL],
    "list of polars Series": lambda: [
        pl.Series(row, dtype=pl.Int64) for row in SEVERAL
    ],
    "Series of lists": lambda: pd.Series(SEVERAL),
    "polars list column": lambda: pl.Series(SEVERAL),
    "pyarrow list column": lambda: pa.array(SEVERAL),
    "object array": lambda: pd.Series(SEVERAL).to_numpy(),
    "counts": lambda: [{11: 1, 13: 1, 14: 1, 15: 0}, {}, [12], {15: 1, 16: 1}],
    "CSR": matrix,
    "COO": lambda: matrix().tocoo(),
    "CSC array": lambda: sparse.csc_array(matrix()),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_one_history(kind, recommender):
    found = recommender.recommend(SINGLE[kind](), k=3)
    expected = recommender.recommend(ONE, k=3)
    assert len(found) == 1
    assert found.items[0].tolist() == expected.items[0].tolist()
    np.testing.assert_array_equal(found.scores[0], expected.scores[0])


@pytest.mark.parametrize("kind", MANY)
@pytest.mark.parametrize("on_unknown", ["raise", "skip"])
def test_several_histories(kind, recommender, on_unknown):
    found = recommender.recommend(MANY[kind](), k=3, on_unknown=on_unknown)
    expected = recommender.recommend(SEVERAL, k=3)
    assert found.users == expected.users == [0, 1, 2, 3]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[0].tolist() == theirs[0].tolist()
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_users_of_a_dict_keep_their_names(recommender):
    names = ["ann", "bob", "cyd", "dan"]
    expected = recommender.recommend(SEVERAL, k=3)
    for rows in (SEVERAL, map(set, SEVERAL), [dict.fromkeys(r, 1) for r in SEVERAL]):
        given = dict(zip(names, rows, strict=True))
        found = recommender.recommend(given, k=3, on_unknown="skip")
        assert found.users == names
        assert [r.tolist() for r in found.items] == [r.tolist() for r in expected.items]


def test_interactions_bring_their_users_and_items(recommender):
    events = Interactions.from_events(["x", "x", "y"], [13, 11, 99])
    with pytest.raises(UnknownIdError, match="99"):
        recommender.recommend(events)
    found = recommender.recommend(events, k=3, on_unknown="skip")
    expected = recommender.recommend([[11, 13], []], k=3)
    assert found.users == ["x", "y"]
    assert [r.tolist() for r in found.items] == [r.tolist() for r in expected.items]
    found = recommender.recommend(FoldIn(CLICKS, CLICKS), k=2)
    assert found.users == list(range(30))


def test_a_count_of_zero_is_no_click(recommender):
    found = recommender.recommend({11: 1, 12: 0}, k=8)
    assert 12 in found.items[0].tolist()
    found = recommender.recommend(sparse.csr_matrix(([1, 0], [1, 2], [0, 2]), (1, 8)))
    assert 12 in found.items[0].tolist()


def test_rows_of_an_array_are_lists_of_ids(recommender):
    found = recommender.recommend(np.array([[11, 13], [12, 15]]), k=3)
    expected = recommender.recommend([[11, 13], [12, 15]], k=3)
    assert [r.tolist() for r in found.items] == [r.tolist() for r in expected.items]
    assert len(recommender.recommend(np.zeros((0, 3), "int64"))) == 0


def test_other_lists_of_ids_are_any_iterables(recommender):
    expected = recommender.recommend(ONE, k=2, allow=[10, 12, 15], deny=[10])
    for make in (iter, set, pd.Series, pl.Series, np.array, pa.array):
        found = recommender.recommend(
            ONE, k=2, allow=make([10, 12, 15]), deny=make([10])
        )
        assert found.items[0].tolist() == expected.items[0].tolist()
    users = recommender.recommend(user_ids=[3, 1], k=2)
    for make in (iter, pd.Series, pl.Series, np.array, pa.array):
        assert recommender.recommend(user_ids=make([3, 1]), k=2).users == users.users


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("film", "`histories` must be an iterable of item ids.* Received: 'film'"),
        (7, "Received: 7"),
        (np.array(7), "Received: array"),
        (pd.DataFrame({"a": [11]}), "no column 'user_id', 'item_id'"),
        ([pd.DataFrame({"a": [11]})], "Received: DataFrame"),
        ([11, [12]], "histories or ids, and not both. Received: int, list"),
        ([[11], None], "not both. Received: NoneType, list"),
        ({"ann": [11], "bob": 2}, "not both. Received: int, list"),
        ([[[11]]], "must be an iterable of item ids"),
        ({11: -1}, "finite numbers >= 0. Received: -1 for 11"),
        ({11: np.nan}, "finite numbers >= 0. Received: nan for 11"),
        ({11: "2"}, "finite numbers >= 0. Received: '2' for 11"),
        (sparse.csr_matrix((1, 9)), r"\(users, 8\). Received: csr_matrix of shape"),
    ],
)
def test_what_is_no_history_is_named(given, text, recommender):
    with pytest.raises(ValueError, match=text):
        recommender.recommend(given)


def test_a_frame_of_events(recommender):
    events = {"user_id": ["bob", "ann", "ann"], "item_id": [12, 11, 13]}
    expected = recommender.recommend({"ann": [11, 13], "bob": [12]}, k=2)
    for make in (pd.DataFrame, pl.DataFrame):
        found = recommender.recommend(make(events), k=2)
        assert found.users == ["ann", "bob"]
        assert found.to_pandas().equals(expected.to_pandas())


def test_texts_are_no_lists(recommender):
    for options in ({"allow": "film"}, {"deny": "film"}):
        with pytest.raises(ValueError, match="must be an iterable of item ids"):
            recommender.recommend(ONE, **options)
    with pytest.raises(ValueError, match="on_unknown"):
        recommender.recommend(ONE, on_unknown="ignore")


def test_ids_that_are_text_or_numbers_of_numpy():
    assert as_rows([np.str_("a"), "b"]).rows == [["a", "b"]]
    assert as_rows(np.array(["a", "b"])).rows == [["a", "b"]]
    assert as_rows([]).rows == [[]]
    assert as_rows({}).rows == [{}]
    assert as_rows([{}]).rows == [{}]


def test_titles_have_the_ids_of_everything_else(recommender, tmp_path):
    names = {10: "ten", 11: "eleven"}
    for titles in (
        names,
        {np.int64(10): "ten", np.int32(11): np.str_("eleven"), 12: None},
        pd.Series(names),
        pd.Series({**names, 12: np.nan}),
    ):
        made = Recommender(recommender.model, CLICKS.items, titles=titles)
        made.save(tmp_path / "model")
        assert Recommender.load(tmp_path / "model").titles == names
        assert "eleven" in made.recommend([13], k=8).describe(0)
    assert Recommender(recommender.model, CLICKS.items, titles={}).titles == {}
    with pytest.raises(TypeError, match=r"must be text\. Received: 5 for 10"):
        Recommender(recommender.model, CLICKS.items, titles={10: 5})
    with pytest.raises(TypeError, match=r"`titles` must be a dict.* Received: list"):
        Recommender(recommender.model, CLICKS.items, titles=["ten"])


@pytest.mark.parametrize("k", [True, 0, 2.0, "3"])
def test_k_is_an_integer(k, recommender):
    with pytest.raises(ValueError, match="`k` must be an integer >= 1"):
        recommender.recommend(ONE, k=k)
    assert len(recommender.recommend(ONE, k=np.int64(2)).items[0]) == 2
