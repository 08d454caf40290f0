"""Splits by time against plain Python."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from conftest import pairs
from scipy import sparse

from keras_multvae.data import (
    Interactions,
    leave_last_out,
    temporal_split,
)
from keras_multvae.data.splits.moments import moment, plain

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


DAY = 86400
JUNE = 1717200000  # 2024-06-01 in UTC


@pytest.mark.parametrize(
    ("start", "seconds"),
    [
        ("2024-06-01", JUNE),
        ("2024-06-01T02:00:00+02:00", JUNE),
        ("2024-06-01 00:00:00.25", JUNE + 0.25),
        (date(2024, 6, 1), JUNE),
        (datetime(2024, 6, 1, 0, 0, 0, 250_000), JUNE + 0.25),
        (datetime(2024, 6, 1, 2, tzinfo=timezone(timedelta(hours=2))), JUNE),
        (np.datetime64("2024-06-01"), JUNE),
        (pd.Timestamp("2024-06-01", tz="UTC"), JUNE),
        (JUNE, JUNE),
        (str(JUNE), JUNE),
        (JUNE * 1000, JUNE),
        (np.int64(JUNE), JUNE),
        (float(JUNE), JUNE),
        # The last event is nine days later, and a second.
        ("9d", JUNE + 2),
        ("216h", JUNE + 2),
        ("1w", JUNE + 2 * DAY + 2),
        # Of the ten events, two and eight are before these.
        (0.2, JUNE + 2 * DAY + 1),
        ("0.8", JUNE + 8 * DAY + 1),
        (np.float32(0.5), JUNE + 5 * DAY + 1),
    ],
)
def test_when_parts_begin(start, seconds):
    times = JUNE + 1 + DAY * np.arange(10)
    clicks = Interactions.from_events(
        np.tile([1, 2], 5), np.arange(10), timestamps=np.random.permutation(times)
    )
    assert plain(moment(start, clicks.timestamps, "test_from")) == seconds


def test_shares_equal_a_sort():
    rng = np.random.default_rng(0)
    for size in (1, 7, 1000):
        times = rng.integers(-5, 50, size)
        for share in (0.001, 0.29, 0.5, 0.9, 0.999):
            start, fraction = moment(share, times, "test_from")
            assert (start, fraction) == (np.sort(times)[int(share * size + 1e-9)], 0)


@pytest.mark.parametrize("start", [None, True, "soon", "30", "3y", [1], -0.5, 1.5, ""])
def test_what_no_part_begins_at(start):
    if start in ("30", -0.5, 1.5):  # seconds, if odd ones
        assert plain(moment(start, np.arange(3), "test_from")) == float(start)
        return
    with pytest.raises(ValueError, match=r"`test_from` must be .* as 0.9"):
        moment(start, np.arange(3), "test_from")


def test_dates_split_events_by_fractions_of_a_second():
    times = ["2024-06-01 00:00:00.1", "2024-06-01 00:00:00.2", "2024-06-01 00:00:00.3"]
    clicks = Interactions.from_events(
        [1, 1, 1, 2, 2], [3, 4, 5, 4, 5], timestamps=[*times, *times[:1] * 2]
    )
    split = temporal_split(clicks, times[1], times[2])
    assert pairs(split.train) == {(1, 3), (2, 4), (2, 5)}
    assert pairs(split.validation.targets) == {(1, 4)}
    assert pairs(split.test.targets) == {(1, 5)}
    assert split.settings["test_from"] == JUNE + 0.3


def test_the_last_event_is_told_by_fractions_of_a_second():
    clicks = Interactions.from_events(
        [1, 1, 1, 2, 2, 2],
        list("cabbca"),
        timestamps=np.array([1300, 1100, 1200, 1000, 1001, 1002], "datetime64[ms]"),
    )
    split = leave_last_out(clicks)
    assert pairs(split.train) == {(1, "a"), (2, "b")}
    assert pairs(split.validation.targets) == {(1, "b")}


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
