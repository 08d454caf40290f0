"""Vocabulary: ids to indices and back, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from keras_multvae.data import UnknownIdError, Vocabulary
from keras_multvae.files import DamagedFileError

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "ids",
    [
        [30, 10, 20],
        (30, 10, 20),
        np.array([30, 10, 20], "uint8"),
        [np.int32(30), 10, np.int64(20)],
        np.array([30, 10, 20], object),
        pd.Series([30, 10, 20]),
        pl.Series([30, 10, 20]),
    ],
)
def test_int_ids_from_any_column(ids):
    vocabulary = Vocabulary(ids)
    assert vocabulary.kind == "int"
    assert vocabulary.ids.dtype == np.int64
    assert vocabulary.ids.tolist() == [30, 10, 20]
    assert vocabulary.index([10, 30]).tolist() == [1, 0]


@pytest.mark.parametrize(
    "ids",
    [
        ["b", "a", "ü"],
        np.array(["b", "a", "ü"]),
        [np.str_("b"), "a", "ü"],
        np.array(["b", "a", "ü"], np.dtypes.StringDType()),
        pd.Series(["b", "a", "ü"]),
        pl.Series(["b", "a", "ü"]),
        pl.Series(["b", "a", "ü"], dtype=pl.Categorical),
    ],
)
def test_str_ids_from_any_column(ids):
    vocabulary = Vocabulary(ids)
    assert vocabulary.kind == "str"
    assert vocabulary.ids.tolist() == ["b", "a", "ü"]
    assert {type(i) for i in vocabulary.ids} == {str}
    assert vocabulary.index(np.array(["ü", "b"])).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("ids", "error", "text"),
    [
        ([1, "a"], TypeError, r"'a' \(str\) at row 1 after 1"),
        (["a", 1], TypeError, r"1 \(int\) at row 1 after 'a'"),
        ([1.0, 2.0], TypeError, r"1.0 \(float\) at row 0"),
        (np.array([1.0, np.nan]), TypeError, "float"),
        ([1, float("nan")], TypeError, r"nan \(float\) at row 1"),
        (["a", None], TypeError, r"None \(NoneType\) at row 1"),
        ([True, False], TypeError, r"True \(bool\)"),
        (pd.Series(["a", None]), TypeError, "missing id"),
        (pl.Series([1, None]), TypeError, "missing id"),
        ("abc", TypeError, "one id: 'abc'"),
        ([1, 2, 1], ValueError, "1 2 times"),
        (["x", "x"], ValueError, "'x' 2 times"),
        ([[1, 2]], TypeError, "list"),
        (np.ones((2, 2), int), ValueError, r"shape \(2, 2\)"),
        ([2**63], ValueError, "64 bits"),
        (np.array([2**63], "uint64"), ValueError, "64 bits"),
    ],
)
def test_bad_ids_are_refused_by_name(ids, error, text):
    with pytest.raises(error, match=text):
        Vocabulary(ids)


def test_unknown_ids_raise_or_are_skipped():
    vocabulary = Vocabulary(["a", "b"])
    assert vocabulary.lookup(["b", "z", "a"]).tolist() == [1, -1, 0]
    assert vocabulary.index(["b", "z", "a"], on_unknown="skip").tolist() == [1, 0]
    assert vocabulary.index([], on_unknown="skip").dtype == np.int64
    with pytest.raises(UnknownIdError) as caught:
        vocabulary.index(list("stuvwxyz"))
    assert isinstance(caught.value, KeyError)
    assert str(caught.value).startswith(
        "Unknown ids: 's', 't', 'u', 'v', 'w' and 3 more."
    )
    with pytest.raises(ValueError, match="on_unknown"):
        vocabulary.index(["a"], on_unknown="ignore")
    with pytest.raises(TypeError, match="one id: 'a'"):
        vocabulary.index("a")


@pytest.mark.parametrize("wrong", ["1", 1.0, True, None, np.float64(1)])
def test_an_id_of_another_type_is_unknown(wrong):
    vocabulary = Vocabulary([0, 1])
    assert wrong not in vocabulary
    with pytest.raises(UnknownIdError, match="holds ids of type int; received"):
        vocabulary.index([wrong])


def test_int_asked_of_str_ids_is_unknown():
    vocabulary = Vocabulary(["1"])
    assert 1 not in vocabulary
    assert "1" in vocabulary
    with pytest.raises(UnknownIdError, match="type str; received int"):
        vocabulary.index(np.array([1]))


def test_it_is_frozen():
    source = np.array([1, 2])
    vocabulary = Vocabulary(source)
    source[0] = 9
    assert vocabulary.ids.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.ids[0] = 9
    with pytest.raises(AttributeError):
        vocabulary.ids = source


def test_equality_looks_at_kind_and_order():
    assert Vocabulary([1, 2]) == Vocabulary(np.array([1, 2]))
    assert Vocabulary([1, 2]) != Vocabulary([2, 1])
    assert Vocabulary([1, 2]) != Vocabulary([1, 2, 3])
    assert Vocabulary([1]) != Vocabulary(["1"])
    assert Vocabulary([1]) != [1]


def test_take():
    vocabulary = Vocabulary(["a", "b", "c"])
    assert vocabulary.take([2, 0]) == Vocabulary(["c", "a"])
    with pytest.raises(ValueError, match="unique"):
        vocabulary.take([0, 0])


@pytest.mark.parametrize("ids", [[3, -1, 2**62], ["x", "ü\n", '"'], []])
def test_saved_and_loaded(tmp_path, ids):
    path = tmp_path / "ids.json"
    Vocabulary(ids).save(path)
    assert Vocabulary.load(path) == Vocabulary(ids)
    assert json.loads(path.read_text("utf-8")) == {
        "format": "keras_multvae.vocabulary",
        "version": 1,
        "kind": Vocabulary(ids).kind,
        "ids": ids,
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"format": "keras_multvae.vocabulary", "vers', "no valid JSON"),
        ('{"ids": [1]}', "not written by keras_multvae"),
        ("[1, 2]", "not written by keras_multvae"),
        ('{"format": "keras_multvae.vocabulary", "ids": [1]}', "no version"),
        ('{"format": "keras_multvae.vocabulary", "version": 2}', "newer keras_multvae"),
        ('{"format": "keras_multvae.vocabulary", "version": 1}', "damaged"),
        (
            '{"format": "keras_multvae.vocabulary", "version": 1, "kind": "int",'
            ' "ids": [1, "a"]}',
            "damaged",
        ),
        (
            '{"format": "keras_multvae.vocabulary", "version": 1, "kind": "str",'
            ' "ids": [1]}',
            "'str'; they are 'int'",
        ),
    ],
)
def test_damaged_and_foreign_files(tmp_path, content, text):
    path = tmp_path / "ids.json"
    path.write_text(content)
    with pytest.raises(DamagedFileError, match=text):
        Vocabulary.load(path)


@pytest.mark.parametrize(
    ("old", "more", "expected"),
    [
        (["a", "c"], ["c", "b", "d"], ["a", "c", "b", "d"]),
        ([3, 1], [1, 3], [3, 1]),
        ([3, 1], np.array([9, 3]), [3, 1, 9]),
    ],
)
def test_extending_keeps_every_old_index(old, more, expected):
    assert Vocabulary(old).extend(more).ids.tolist() == expected


def test_a_vocabulary_is_extended_by_ids_of_its_own_kind():
    with pytest.raises(TypeError):
        Vocabulary(["a"]).extend([1])
    with pytest.raises(ValueError, match="unique"):
        Vocabulary(["a"]).extend(["b", "b"])
