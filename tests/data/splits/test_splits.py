"""Splits: the protocol's checksums, and each rule against plain Python."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import sparse

from keras_multvae.data import (
    FoldIn,
    Interactions,
    Split,
    leave_last_out,
    read_interactions,
    strong_generalization,
    temporal_split,
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


def pairs(interactions):
    return set(
        zip(
            interactions.users.ids[interactions.rows].tolist(),
            interactions.items.ids[interactions.matrix.indices].tolist(),
            strict=True,
        )
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
    """The protocol of PAPER.md with lists, from its text alone."""
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
        ((-1, 1), "`num_validation_users` must be >= 0"),
        ((1, -1), "`num_test_users` must be >= 0"),
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


def test_temporal_split_equals_plain_python():
    rng = np.random.default_rng(3)
    users, items = np.divmod(rng.choice(30 * 40, 400, replace=False), 40)
    times = rng.integers(0, 100, 400)
    rows = list(zip(users.tolist(), items.tolist(), times.tolist(), strict=True))
    known = list(dict.fromkeys(item for _, item, time in rows if time < 20))

    def between(low, high):
        return {(u, i) for u, i, time in rows if low <= time < high and i in known}

    split = temporal_split(
        Interactions.from_events(users, items, timestamps=times), 20, 60
    )
    assert split.train.items.ids.tolist() == known
    assert pairs(split.train) == between(0, 20)
    for part, low, high in ((split.validation, 20, 60), (split.test, 60, 100)):
        inputs, targets = between(0, low), between(low, high)
        both = {u for u, _ in inputs} & {u for u, _ in targets}
        assert set(part.input.users.ids) == both
        assert pairs(part.input) == {pair for pair in inputs if pair[0] in both}
        assert pairs(part.targets) == {pair for pair in targets if pair[0] in both}
        assert part.input.timestamps.max() < low <= part.targets.timestamps.min()


def test_temporal_split_refuses():
    clicks = Interactions.from_events([1, 1, 1], [1, 2, 3], timestamps=[1, 2, 3])
    with pytest.raises(ValueError, match=r"before `test_from`.*3 and 3"):
        temporal_split(clicks, 3, 3)
    with pytest.raises(ValueError, match=r"train part.*run from 1 to 3"):
        temporal_split(clicks, 1, 2)
    with pytest.raises(ValueError, match="validation part"):
        temporal_split(clicks, 2, 3)
    with pytest.raises(ValueError, match="needs timestamps"):
        temporal_split(Interactions.from_matrix(sparse.eye(3)), 1, 2)


def test_leave_last_out_equals_plain_python():
    rng = np.random.default_rng(4)
    users, items = np.divmod(rng.choice(60 * 15, 200, replace=False), 15)
    times = rng.integers(0, 5, 200)
    train, validation, test = set(), set(), set()
    for user in set(users.tolist()):
        own = [
            (time, row, item)
            for row, (u, item, time) in enumerate(zip(users, items, times, strict=True))
            if u == user
        ]
        mine = [(user, int(item)) for _, _, item in sorted(own)]
        cut = len(mine) - 2 if len(mine) >= 3 else len(mine)
        train |= set(mine[:cut])
        validation |= set(mine[cut : cut + 1])
        test |= set(mine[cut + 1 :])
    split = leave_last_out(Interactions.from_events(users, items, timestamps=times))
    known = set(split.train.items.ids.tolist())
    assert pairs(split.train) == train
    assert known == {item for _, item in train}
    for part, targets, inputs in (
        (split.validation, validation, train),
        (split.test, test, train | validation),
    ):
        kept = {pair for pair in targets if pair[1] in known}
        assert pairs(part.targets) == kept
        in_part = {user for user, _ in kept}
        assert pairs(part.input) == {
            (user, item) for user, item in inputs if user in in_part and item in known
        }
        assert (np.diff(part.targets.matrix.indptr) == 1).all()


def test_leave_last_out_refuses():
    short = Interactions.from_events([1, 1, 2], [1, 2, 1], timestamps=[1, 2, 3])
    with pytest.raises(ValueError, match="No user has three events"):
        leave_last_out(short)
    with pytest.raises(ValueError, match="needs timestamps"):
        leave_last_out(Interactions.from_matrix(sparse.eye(3)))


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
