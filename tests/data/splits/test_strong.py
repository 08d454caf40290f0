"""Strong generalization: the checksums of its protocol, and plain Python."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from conftest import pairs
from scipy import sparse

from keras_multvae.data import (
    Interactions,
    read_interactions,
    strong_generalization,
)

pytestmark = pytest.mark.once

# From SPLIT.md beside the data: two independent implementations agree on them.
SHA256 = {
    "train": "99d498a4f80828ef68f76617e18c45b0402ff2d7186bc523d9130e57b3038c8a",
    "validation input": (
        "5bf8d63c997d56ea88fa90c3a986c40b65432c89b958f479a946fcbeb5156c40"
    ),
    "validation targets": (
        "ad127c4f92f0a3baad65b70dd535cba36c39333504637eaa9e80281b67071f10"
    ),
    "test input": "bc546da03cde5c9e214605596e219f28c38383a19952dd562aafddc720be270b",
    "test targets": "a6f8d47ce7bac4a43eea18016346645b2031a76688f45e7efad59727ab99c2ab",
    "items": "ccd552d75dc48e5744b09838e31fa3df8ba9d381b5d110ca1c1afdc0535980cf",
}


@pytest.fixture(scope="module")
def movielens(shared_data):
    return read_interactions(
        shared_data / "ml-latest-small" / "ratings.csv",
        user_column="userId",
        item_column="movieId",
        rating_column="rating",
        timestamp_column="timestamp",
        min_rating=4,
        min_user_items=5,
    )


def digest(lines):
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def test_the_protocol_to_the_letter(movielens):
    split = strong_generalization(movielens, 60, 60)
    parts = {
        "train": split.train,
        "validation input": split.validation.input,
        "validation targets": split.validation.targets,
        "test input": split.test.input,
        "test targets": split.test.targets,
    }
    found = {
        name: digest(f"{user},{item}" for user, item in sorted(pairs(part)))
        for name, part in parts.items()
    }
    found["items"] = digest(split.train.items.ids)
    assert found == SHA256
    assert (split.train.num_users, split.train.num_items) == (483, 5660)
    for part in parts.values():
        assert (np.diff(part.users.ids) > 0).all()
    assert split.settings["seed"] == 98765
    assert split.settings["source_counts"]["events"] == 100836


def test_row_order_is_part_of_the_protocol():
    # The same events in another file order: other targets and another item order.
    rng = np.random.default_rng(0)
    users, items = np.divmod(rng.choice(600, 300, replace=False), 30)
    backwards = strong_generalization(
        Interactions.from_events(users[::-1], items[::-1]), 4, 4
    )
    forwards = strong_generalization(Interactions.from_events(users, items), 4, 4)
    assert pairs(backwards.train) == pairs(forwards.train)
    assert backwards.train.items != forwards.train.items
    assert pairs(backwards.test.targets) != pairs(forwards.test.targets)


def reference_split(users, items, held_out, seed=98765):
    """The protocol of docs/method.md with lists, from its text alone."""
    rows = list(zip(users, items, strict=True))
    order = np.random.RandomState(seed).permutation(sorted(set(users))).tolist()
    train_users = set(order[: -2 * held_out])
    known = list(dict.fromkeys(item for user, item in rows if user in train_users))
    train = {(user, item) for user, item in rows if user in train_users}
    sides = []
    for block in (order[-2 * held_out : -held_out], order[-held_out:]):
        stream = np.random.RandomState(seed)
        inputs, targets = set(), set()
        for user in sorted(block):
            own = [i for u, i in rows if u == user and i in set(known)]
            chosen = set()
            if len(own) >= 5:
                size = int(0.2 * len(own))
                chosen = set(stream.choice(len(own), size=size, replace=False))
            for place, item in enumerate(own):
                (targets if place in chosen else inputs).add((user, item))
        sides += [inputs, targets]
    return known, [train, *sides]


@pytest.mark.parametrize("kind", [int, str])
def test_strong_generalization_equals_plain_python(kind):
    rng = np.random.default_rng(1)
    users, items = np.divmod(rng.choice(40 * 60, 300, replace=False), 60)
    users, items = [[kind(i) for i in column.tolist()] for column in (users, items)]
    known, expected = reference_split(users, items, held_out=8)
    split = strong_generalization(Interactions.from_events(users, items), 8, 8)
    assert split.train.items.ids.tolist() == known
    parts = [
        split.train,
        split.validation.input,
        split.validation.targets,
        split.test.input,
        split.test.targets,
    ]
    assert [pairs(part) for part in parts] == expected
    # The data was made sparse enough that some held-out users keep everything.
    lengths = np.diff(split.validation.input.matrix.indptr)
    assert lengths.min() < 5 <= lengths.max()


def test_plain_mode_draws_from_the_generator():
    clicks = Interactions.from_matrix(sparse.csr_matrix(np.ones((50, 20))))
    splits = [
        strong_generalization(clicks, 10, 10, generator=np.random.default_rng(seed))
        for seed in (3, 3, 4)
    ]
    targets = [pairs(split.test.targets) for split in splits]
    assert targets[0] == targets[1] != targets[2]
    assert targets[0] != pairs(strong_generalization(clicks, 10, 10).test.targets)
    for part in (splits[0].validation, splits[0].test):
        assert (np.diff(part.targets.matrix.indptr) == 4).all()
        assert (part.input.matrix + part.targets.matrix).min() == 1
    parts = (splits[0].train, splits[0].validation.input, splits[0].test.input)
    everyone = np.concatenate([part.users.ids for part in parts])
    assert sorted(everyone) == list(range(50))
    assert splits[0].settings["random"] == "PCG64"
    assert splits[0].settings["seed"] is None


def test_counts_and_weights_come_along():
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 9, (30, 12)).astype("float32")
    plain = Interactions.from_matrix(sparse.csr_matrix(counts))
    weights = rng.random(30).astype("float32")
    clicks = Interactions(plain.matrix, plain.users, plain.items, user_weights=weights)
    split = strong_generalization(clicks, 5, 5)
    for part in (split.train, split.validation.input, split.test.targets):
        users = part.users.ids
        np.testing.assert_array_equal(part.user_weights, weights[users])
    both = split.test.input.matrix + split.test.targets.matrix
    np.testing.assert_array_equal(both.toarray(), counts[split.test.input.users.ids])


def test_no_held_out_users_no_part():
    clicks = Interactions.from_matrix(sparse.csr_matrix(np.ones((4, 6))))
    split = strong_generalization(clicks, 0, 1)
    assert split.validation is None
    assert split.train.num_users == 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((3, 2), "3 validation and 2 test users of 5"),
        ((9, 9), "at least one user must be left"),
        ((-1, 1), "`num_validation_users` must be an integer >= 0"),
        ((1, -1), "`num_test_users` must be an integer >= 0"),
    ],
)
def test_more_held_out_users_than_users(arguments, text):
    clicks = Interactions.from_matrix(sparse.eye(5))
    with pytest.raises(ValueError, match=text):
        strong_generalization(clicks, *arguments)


@pytest.mark.parametrize("fraction", [0, 1, -0.2, float("nan")])
def test_bad_target_fraction(fraction):
    clicks = Interactions.from_matrix(sparse.eye(5))
    with pytest.raises(ValueError, match="`target_fraction`"):
        strong_generalization(clicks, 1, 1, target_fraction=fraction)
