"""Splits by time against plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import pairs
from scipy import sparse

from keras_multvae.data import (
    Interactions,
    leave_last_out,
    temporal_split,
)

pytestmark = pytest.mark.once


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
