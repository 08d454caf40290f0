"""The parts of a split, and those that others have made."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse

from keras_multvae.data import (
    FoldIn,
    Interactions,
    Split,
    leave_last_out,
    strong_generalization,
    temporal_split,
)
from keras_multvae.data.columns import spilled
from keras_multvae.data.columns.mapped import is_mapped

pytestmark = pytest.mark.once


def test_parts_over_other_users_or_items_are_refused():
    clicks = Interactions.from_matrix(sparse.csr_matrix(np.ones((3, 3))))
    other_users = Interactions.from_matrix(clicks.matrix, users=[7, 8, 9])
    other_items = Interactions.from_matrix(clicks.matrix, items=["a", "b", "c"])
    with pytest.raises(ValueError, match="same users"):
        FoldIn(clicks, other_users)
    with pytest.raises(ValueError, match="same items"):
        FoldIn(clicks, other_items)
    with pytest.raises(ValueError, match="items of `train`"):
        Split(clicks, FoldIn(other_items, other_items))


def events(pairs):
    return Interactions.from_events(*zip(*pairs, strict=True))


TRAIN = [("u", "a"), ("u", "b"), ("v", "b"), ("v", "c"), ("w", "a"), ("w", "c")]


def rows(interactions):
    """{user: [items]} of interactions."""
    matrix = interactions.matrix
    return {
        user: sorted(interactions.items.ids[matrix[row].indices].tolist())
        for row, user in enumerate(interactions.users.ids.tolist())
    }


def test_from_holdout_shows_the_training_clicks_and_asks_for_the_held_out_ones():
    test = events([("w", "b"), ("u", "c")])
    split = Split.from_holdout(events(TRAIN), test)
    assert split.validation is None
    assert rows(split.test.input) == {"w": ["a", "c"], "u": ["a", "b"]}
    assert rows(split.test.targets) == {"w": ["b"], "u": ["c"]}
    assert split.settings["dropped"] == {"test": 0}


def test_from_holdout_shows_the_validation_clicks_in_the_test():
    train = [*TRAIN, ("x", "d")]
    split = Split.from_holdout(
        events(train),
        test=events([("v", "d"), ("x", "a"), ("v", "new")]),
        validation=events([("v", "a"), ("w", "b")]),
    )
    assert rows(split.validation.input) == {"v": ["b", "c"], "w": ["a", "c"]}
    assert rows(split.validation.targets) == {"v": ["a"], "w": ["b"]}
    assert rows(split.test.input) == {"v": ["a", "b", "c"], "x": ["d"]}
    assert rows(split.test.targets) == {"v": ["d"], "x": ["a"]}
    assert split.settings["dropped"] == {"validation": 0, "test": 1}
    assert rows(split.train) == rows(events(train))


PARTS = {
    "strong": lambda clicks: strong_generalization(clicks, 5, 7),
    "last out": leave_last_out,
    "time": lambda clicks: temporal_split(clicks, 0.5, 0.8),
    "train alone": Split,
}


@pytest.mark.parametrize("limit", [None, 40])
@pytest.mark.parametrize("kind", PARTS)
def test_histories_are_all_that_is_known_of_each_user(kind, limit, monkeypatch):
    if limit is not None:
        monkeypatch.setattr(spilled, "LIMIT", limit)
        monkeypatch.setattr(spilled, "RUN", 15)
    rng = np.random.default_rng(0)
    clicks = Interactions.from_events(
        rng.integers(0, 30, 300),
        rng.integers(0, 12, 300),
        values=rng.integers(1, 4, 300),
        timestamps=rng.integers(0, 1000, 300),
    )
    split = PARTS[kind](clicks)
    expected = {}
    for part in (split.train, split.validation, split.test):
        for side in (
            [part] if isinstance(part, Interactions)
            else [part.input, part.targets] if part else []
        ):  # fmt: skip
            matrix = side.matrix.tocoo()
            for row, column, value in zip(
                matrix.row, matrix.col, matrix.data, strict=True
            ):
                pair = int(side.users.ids[row]), int(side.items.ids[column])
                assert expected.setdefault(pair, value) == value
    found = split.histories()
    assert is_mapped(found.matrix.data) == (limit is not None)
    matrix = found.matrix.tocoo()
    ids = found.users.ids[matrix.row], found.items.ids[matrix.col]
    assert len(matrix.data) == len(expected)
    assert dict(zip(zip(*ids, strict=True), matrix.data, strict=True)) == expected
    assert found.items == split.train.items
    users = split.train.num_users
    assert found.users.ids[:users].tolist() == split.train.users.ids.tolist()
    # In order, as `Interactions` have it.
    for start, end in pairwise(found.matrix.indptr):
        assert (np.diff(found.matrix.indices[start:end]) > 0).all()


def test_histories_take_the_larger_of_two_values():
    train, test = events(TRAIN), events([("w", "b"), ("v", "a")])
    split = Split.from_holdout(train, test)
    twice = Interactions.from_matrix(2 * train.matrix, train.users.ids, train.items.ids)
    split = Split(twice, test=split.test)
    assert rows(split.histories()) == {"u": ["a", "b"], "v": ["a", "b", "c"],
                                       "w": ["a", "b", "c"]}  # fmt: skip
    assert sorted(split.histories().matrix.data) == [1.0] * 2 + [2.0] * 6


def test_from_holdout_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"`test` must hold users of `train`.*'z'"):
        Split.from_holdout(events(TRAIN), events([("z", "a")]))
    with pytest.raises(ValueError, match=r"`test` must hold clicks .* Received 1"):
        Split.from_holdout(events(TRAIN), events([("u", "a"), ("u", "c")]))
    with pytest.raises(ValueError, match="`test` must hold clicks"):
        Split.from_holdout(
            events(TRAIN), events([("u", "c")]), validation=events([("u", "c")])
        )


def test_from_holdout_on_gowalla(shared_data):
    arrays = np.load(shared_data / "gowalla" / "gowalla.npz")
    parts = {
        name: sparse.csr_matrix(
            (np.ones(arrays[name].shape[1]), arrays[name]), shape=(29_858, 40_981)
        )
        for name in ("train", "test")
    }
    split = Split.from_holdout(*map(Interactions.from_matrix, parts.values()))
    # The counts of the data set's own page.
    assert split.train.num_entries == 810_128
    assert split.test.targets.num_entries == 217_242
    assert split.settings["dropped"] == {"test": 0}
    assert (split.test.input.matrix != split.train.matrix).nnz == 0
