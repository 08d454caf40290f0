"""The parts of a split, and those that others have made."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from keras_multvae.data import (
    FoldIn,
    Interactions,
    Split,
)

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
