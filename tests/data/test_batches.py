from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae.data.batches import UserBatches
from keras_multvae.data.packing import pack, padded_size


def unpack(batch, items, partitions=1):
    """A ragged batch as a dense matrix, by a loop."""
    rows = []
    for sizes, ids, values in zip(
        *(np.split(batch[key], partitions) for key in ("entries_per_user", "item_ids", "values")),
        strict=True,
    ):
        assert sizes.sum() == len(ids) == len(values)
        end = 0
        for size in sizes:
            row = np.zeros(items)
            np.add.at(row, ids[end : end + size], values[end : end + size])
            rows.append(row)
            end += size
    return np.array(rows)


def all_rows(batches, items=12):
    return np.concatenate([unpack(batch[0], items) for batch in batches])


def test_in_order_batches_hold_the_matrix(clicks):
    batches = UserBatches(clicks, 7, shuffle=False)
    assert len(batches) == 6
    assert [len(batch[0]["entries_per_user"]) for batch in batches] == [7] * 5 + [5]
    np.testing.assert_array_equal(all_rows(batches), clicks.toarray())


def test_dtypes_are_those_of_the_format(clicks):
    (batch,) = UserBatches(clicks, 7)[0]
    assert {key: str(value.dtype) for key, value in batch.items()} == {
        "entries_per_user": "int32",
        "item_ids": "int32",
        "values": "float32",
    }


def test_each_epoch_is_a_new_permutation_that_depends_on_seed_and_epoch(clicks):
    clicks.data[:] = np.arange(1, clicks.nnz + 1)
    batches, again = UserBatches(clicks, 7, seed=3), UserBatches(clicks, 7, seed=3)
    first = all_rows(batches)
    batches.on_epoch_end()
    second = all_rows(batches)
    assert not np.array_equal(first, second)
    key = [tuple(row) for row in clicks.toarray()]
    for rows in (first, second):
        assert sorted(map(tuple, rows)) == sorted(key)
    again.epoch = 1
    np.testing.assert_array_equal(all_rows(again), second)
    assert not np.array_equal(all_rows(UserBatches(clicks, 7, seed=4)), first)


def test_in_order_leaves_the_original_shuffled(clicks):
    batches = UserBatches(clicks, 7)
    shuffled = all_rows(batches)
    np.testing.assert_array_equal(all_rows(batches.in_order()), clicks.toarray())
    np.testing.assert_array_equal(all_rows(batches), shuffled)


def test_targets_and_weights_keep_to_their_users(clicks):
    targets = make_clicks(40, 12, seed=5)
    weights = np.arange(40.0)
    batches = UserBatches(clicks, 7, targets=targets, sample_weight=weights)
    for inputs, wanted, weight in batches:
        users = weight.astype(int)
        np.testing.assert_array_equal(unpack(inputs, 12), clicks[users].toarray())
        np.testing.assert_array_equal(unpack(wanted, 12), targets[users].toarray())
    _, nothing, _ = UserBatches(clicks, 7, sample_weight=weights)[0]
    assert nothing.shape == (7, 0)


def test_equal_slices_are_batches_of_their_own(clicks):
    rows = []
    for inputs, _, weight in UserBatches(clicks, 8, shuffle=False, partitions=4):
        assert all(len(array) % 4 == 0 for array in inputs.values())
        rows.append(unpack(inputs, 12, partitions=4)[weight > 0])
    np.testing.assert_array_equal(np.concatenate(rows), clicks.toarray())


def test_a_last_batch_that_does_not_divide_gets_users_of_weight_zero():
    clicks = make_clicks(5, 12)
    (inputs, _, weight) = UserBatches(clicks, 8, shuffle=False, partitions=4)[0]
    # A mean over the eight is the mean over the five.
    np.testing.assert_allclose(weight, [8 / 5] * 5 + [0] * 3)
    np.testing.assert_array_equal(unpack(inputs, 12, 4)[:5], clicks.toarray())
    assert not unpack(inputs, 12, 4)[5:].any()


def test_the_next_batch_is_made_while_one_is_in_use(clicks, monkeypatch):
    made = {index: threading.Event() for index in range(6)}
    original = UserBatches._batch

    def batch(self, index):
        made[index].set()
        return original(self, index)

    monkeypatch.setattr(UserBatches, "_batch", batch)
    batches = UserBatches(clicks, 7)
    batches[2]
    assert made[3].wait(60)
    assert not made[4].is_set()
    # Where Keras' workers do it, nothing is made twice.
    made[1].clear()
    UserBatches(clicks, 7, workers=2)[0]
    assert not made[1].wait(0.1)


def test_batches_may_be_asked_for_in_any_order(clicks):
    batches, alone = UserBatches(clicks, 7), UserBatches(clicks, 7, workers=2)
    for index in (3, 4, 2, 5, 5, 0, 1):
        np.testing.assert_array_equal(
            unpack(batches[index][0], 12), unpack(alone[index][0], 12)
        )
    batches[0]  # makes batch 1, in the order of the epoch that ends here
    for changed in (batches, alone):
        changed.on_epoch_end()
    np.testing.assert_array_equal(unpack(batches[1][0], 12), unpack(alone[1][0], 12))
    batches[0]
    again = pickle.loads(pickle.dumps(batches))
    np.testing.assert_array_equal(all_rows(again), all_rows(alone))


def test_an_error_ahead_comes_with_its_batch(clicks):
    batches = UserBatches(clicks, 7, shuffle=False)
    batches.inputs.indptr[14:] += 10**6
    batches[0]
    with pytest.raises(IndexError):
        batches[1]


def test_counts_come_as_they_are(clicks):
    clicks.data[-1] = 2.5
    np.testing.assert_array_equal(
        all_rows(UserBatches(clicks, 7, shuffle=False)), clicks.toarray()
    )


def test_padded_sizes_are_few_and_close():
    sizes = {padded_size(n) for n in range(1, 100_001)}
    assert len(sizes) < 60
    for n in [*range(1, 5000), 99_999, 100_000]:
        assert n <= padded_size(n) <= max(16, 1.25 * n + 4)


def test_users_without_clicks_only():
    batch = pack(sparse.csr_matrix((3, 4), dtype="float32"), np.arange(3))
    assert batch["entries_per_user"].tolist() == [0, 0, 16]
    assert not batch["values"].any()


def test_bad_input_is_named(clicks):
    with pytest.raises(TypeError, match="a SciPy sparse matrix or a dense array"):
        UserBatches(clicks.toarray().tolist())
    for value, text in ((-1, "-1"), (np.nan, "nan"), (np.inf, "inf")):
        bad = clicks.copy()
        bad.data[3] = value
        with pytest.raises(ValueError, match=f"finite and >= 0; found {text}"):
            UserBatches(bad)
        with pytest.raises(ValueError, match="targets"):
            UserBatches(clicks, targets=bad)
    with pytest.raises(ValueError, match="shape of the input"):
        UserBatches(clicks, targets=clicks[:3])
    with pytest.raises(ValueError, match="40 finite numbers"):
        UserBatches(clicks, sample_weight=[1.0])
    with pytest.raises(ValueError, match="at least one user"):
        UserBatches(clicks[:0])
    with pytest.raises(ValueError, match="multiple of `partitions`"):
        UserBatches(clicks, 7, partitions=2)
    with pytest.raises(IndexError):
        UserBatches(clicks, 7)[6]
