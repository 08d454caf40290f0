"""Features of items: what columns become, and the folder that keeps them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import sparse

from keras_multvae import Popularity, Recommender
from keras_multvae.cli import main
from keras_multvae.data import Interactions, Split, load_prepared, save_prepared
from keras_multvae.features import ItemFeatures, storage
from keras_multvae.files import DamagedFileError

pytestmark = pytest.mark.once

COLUMNS = {
    "genres": ["Drama|War", None, "Comedy| Drama "],
    "tags": [["x", "y"], [], ["y"]],
    "year": ["1999", "", "2001"],
    "text": ["A cat and a dog", "The dog!", None],
    "vector": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]]),
    "sparse": sparse.eye_array(3, format="csr"),
}
KINDS = {"text": "words"}


@pytest.fixture
def features():
    return ItemFeatures.from_columns(COLUMNS, KINDS)


def test_columns_become_matrices(features):
    assert features["genres"].values == ("Comedy", "Drama", "War")
    assert features.labels("genres").toarray().tolist() == [
        [0, 1, 1],
        [0, 0, 0],
        [1, 1, 0],
    ]
    assert features.labels("tags").toarray().tolist() == [[1, 1], [0, 0], [0, 1]]
    # A missing number is the mean of the others; a word of one item alone is left out.
    assert features["year"].matrix.ravel().tolist() == [1999, 2000, 2001]
    assert features["text"].values == ("dog",)
    assert features["vector"].kind == features["sparse"].kind == "vector"
    assert repr(features).startswith("ItemFeatures(3 items: genres (3 labels), tags")


def test_other_items_are_read_alike(features):
    new = {
        "genres": ["War|Western"],
        "tags": [["z"]],
        "year": [None],
        "text": ["dog cat"],
        "vector": [[0.0, 1.0]],
        "sparse": np.zeros((1, 3)),
    }
    found = features.like(new)
    assert found.labels("genres").toarray().tolist() == [[0, 0, 1]]
    assert found.labels("tags").nnz == 0
    assert found["year"].matrix.tolist() == [[2000]]
    assert found["vector"].matrix.tolist() == [[0, 1]]
    both = features.followed_by(found)
    assert both.num_items == 4
    last = both.take(np.array([3]))
    for name in features.names:
        np.testing.assert_array_equal(
            storage_form(last[name].matrix), storage_form(found[name].matrix)
        )


def storage_form(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def test_unknown_items_have_no_labels_and_mean_numbers(features):
    taken = features.take(np.array([2, -1]))
    assert taken.labels("genres").toarray().tolist() == [[1, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(taken["year"].matrix.ravel(), [2001, 2000])
    np.testing.assert_allclose(taken["vector"].matrix[1], [3, 5])


def test_no_unit_weighs_more_than_another():
    small = {"metres": [1.0, 2.0, 4.0], "labels": ["a", "b", "a"]}
    large = {"metres": [1000.0, 2000.0, 4000.0], "labels": ["a", "b", "a"]}
    found = [ItemFeatures.from_columns(each).unit_rows() for each in (small, large)]
    np.testing.assert_allclose(*found, rtol=1e-5)
    squares = (found[0] ** 2).sum(axis=0)
    np.testing.assert_allclose([squares[0], squares[1:].sum()], 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ItemFeatures([]), "at least one feature"),
        (
            lambda: ItemFeatures.from_columns({"a": ["x"], "b": ["x", "y"]}),
            "same items. Received rows: {'a': 1, 'b': 2}",
        ),
        (
            lambda: ItemFeatures.from_columns({"a": ["x"]}, {"a": "number"}),
            "finite numbers. Received: 'x'. Read it as labels: a:labels",
        ),
        (
            lambda: ItemFeatures.from_columns({"a": ["x"]}, {"a": "colour"}),
            "`kind` must be one of 'labels', 'words', 'number'",
        ),
        (
            lambda: ItemFeatures.from_columns({"a": np.array([[np.nan]])}),
            "NaN or infinity",
        ),
        (
            lambda: ItemFeatures.from_columns({"a": ["x"]}).like({"b": ["x"]}),
            "Missing: a",
        ),
        (
            lambda: ItemFeatures.from_columns({"a": np.ones((1, 2))}).like(
                {"a": np.ones((1, 3))}
            ),
            "width 2",
        ),
        (lambda: ItemFeatures.from_columns({"a": [1]}).labels("a"), "labels or words"),
        (lambda: ItemFeatures.from_columns({"a": [1]})["b"], "no feature 'b', only a"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


@pytest.fixture
def clicks():
    return Interactions.from_events([1, 1, 2, 2], ["a", "b", "a", "c"])


def same(found, features):
    assert found.names == features.names
    for one, other in zip(found, features, strict=True):
        assert (one.kind, one.values) == (other.kind, other.values)
        np.testing.assert_array_equal(
            storage_form(one.matrix), storage_form(other.matrix)
        )


def test_prepared_folder_and_recommender_keep_them(features, clicks, tmp_path):
    save_prepared(Split(clicks), tmp_path / "prepared", features=features)
    same(load_prepared(tmp_path / "prepared").features, features)
    model = Popularity(3).fit(clicks)
    Recommender(model, clicks.items, features=features).save(tmp_path / "model")
    same(Recommender.load(tmp_path / "model").features, features)
    with pytest.raises(ValueError, match="`features` must be of the 2 items"):
        Recommender(Popularity(2), clicks.items.take([0, 1]), features=features)


def test_a_folder_without_features_says_nothing_of_them(clicks, tmp_path):
    save_prepared(Split(clicks), tmp_path / "prepared")
    manifest = json.loads((tmp_path / "prepared" / "manifest.json").read_text())
    assert "features" not in manifest
    assert load_prepared(tmp_path / "prepared").features is None


def without_sums(folder):
    """A folder of somebody who writes no checksums, so that content is looked at."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    del content["files"], content["sha256"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("feature-0/indices.npy", np.full(4, 7, "<i4")),
        ("feature-0/indptr.npy", np.array([0, 2, 2, 9], "<i8")),
        ("feature-2/matrix.npy", np.full((3, 1), np.nan, "<f4")),
        ("feature-2/matrix.npy", np.ones((2, 1), "<f4")),
        ("feature-2/matrix.npy", np.ones((3, 1), "<f8")),
        ("feature-0/values.json", "[1, 2, 3]"),
        ("feature-0/values.json", '["a"]'),
        ("feature-2/matrix.npy", None),
    ],
)
@pytest.mark.parametrize("sums", [True, False])
def test_damage_is_one_error(features, tmp_path, file, content, sums):
    folder = tmp_path / "features"
    storage.write(features, folder)
    if not sums:
        without_sums(folder)
    if content is None:
        (folder / file).unlink()
    elif isinstance(content, str):
        (folder / file).write_text(content)
    else:
        np.save(folder / file, content)
    with pytest.raises(DamagedFileError) as error:
        storage.read(folder, 3)
    assert "\n" not in str(error.value)


def test_prepare_reads_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"{user},{item}" for user in range(20) for item in "abc"]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id", *rows]))
    (tmp_path / "items.csv").write_text(
        "item_id;colours;price;about\nc;red/blue;7.5;a cat\na;;2;a dog\nz;green;1;\n"
    )
    options = ["--items", "items.csv", "--items-separator", ";", "--title-column"]
    options += ["none", "--features", "colours,price,about:words", "--label-separator"]
    options += ["/", "--min-user-items", "1", "--json"]
    assert main(["prepare", "log.csv", "--out", "prepared", *options]) == 0
    report = json.loads(capsys.readouterr().out)["features"]
    assert report == {
        "items": 2,
        "columns": {
            "colours": {"kind": "labels", "width": 2},
            "price": {"kind": "number", "width": 1},
            "about": {"kind": "words", "width": 1},
        },
    }
    found = load_prepared("prepared")
    place = found.split.train.items.index(list("abc"))
    assert found.features.labels("colours").toarray()[place].tolist() == [
        [0, 0],
        [0, 0],
        [1, 1],
    ]
    # The item without a row has the mean of the others.
    prices = found.features["price"].matrix[place].ravel().tolist()
    assert prices == [2, 4.75, 7.5]
    assert main(["verify", "prepared"]) == 0


def test_prepare_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("user_id,item_id\n1,a\n1,b\n2,a\n2,b\n3,a\n4,b\n")
    (tmp_path / "items.csv").write_text("item_id,colour\na,red\na,blue\n")
    given = ["prepare", "log.csv", "--out", "out", "--min-user-items", "1"]
    for options, message in (
        (["--features", "colour"], "--features needs --items"),
        (["--items", "items.csv", "--features", "a:b"], "KIND is one of labels, words"),
    ):
        with pytest.raises(SystemExit):
            main([*given, *options])
        assert message in capsys.readouterr().err
    options = ["--items", "items.csv", "--title-column", "none", "--features", "colour"]
    assert main([*given, *options]) == 1
    assert "must have a row for each item" in capsys.readouterr().err
