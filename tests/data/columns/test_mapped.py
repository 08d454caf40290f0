"""Arrays that stay on disk: what is read, and that it does not fill memory."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_clicks

from keras_multvae import MultVAE
from keras_multvae.data import (
    Interactions,
    Split,
    UserBatches,
    load_prepared,
    save_prepared,
)
from keras_multvae.data.columns.mapped import slices, take_runs
from keras_multvae.data.columns.stored import open_array


@pytest.fixture(params=["ones", "counts"])
def clicks(request):
    clicks = make_clicks(3000, 150)
    if request.param == "counts":
        clicks.data[:] = np.random.default_rng(0).integers(1, 9, clicks.nnz)
    return clicks


@pytest.fixture
def mapped(clicks, tmp_path):
    save_prepared(Split(Interactions.from_matrix(clicks)), tmp_path / "prepared")
    return load_prepared(tmp_path / "prepared").split.train


def resident(array):
    """Bytes of the array's file that count as memory of this process."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    sizes = [
        next(line for line in lines if line.startswith("Rss:"))
        for line in lines
        if line.endswith(str(array.filename))
    ]
    assert sizes
    return sum(int(line.split()[1]) for line in sizes) * 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="Linux only")
def test_epochs_leave_the_matrix_on_disk(mapped):
    arrays = mapped.matrix.indices, mapped.matrix.data
    batches = UserBatches(mapped, 250)
    for _ in range(2):
        for index in range(len(batches)):
            batches[index]
        batches.on_epoch_end()
    assert [resident(array) for array in arrays] == [0, 0]
    for array in arrays:
        array.sum()
        assert resident(array) >= array.nbytes


def test_batches_are_those_of_a_matrix_in_memory(clicks, mapped):
    options = {"batch_size": 256, "partitions": 4, "seed": 3}
    others = clicks[::-1]  # the input itself is no target
    for inputs, targets in ((mapped, others), (others, mapped)):
        stored = UserBatches(inputs, targets=targets, **options)
        in_memory = (clicks if each is mapped else each for each in (inputs, targets))
        expected = UserBatches(next(in_memory), targets=next(in_memory), **options)
        same_batches(stored, expected)
    with pytest.raises(ValueError, match="are the input itself"):
        UserBatches(mapped, targets=clicks, **options)


def same_batches(stored, expected):
    for found, wanted in zip(stored, expected, strict=True):
        for a, b in zip(
            keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True
        ):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_training_from_disk_equals_training_from_memory(clicks, mapped):
    losses = []
    for source in (clicks, mapped):
        model = MultVAE(150, latent_dim=4, hidden_dims=(8,), seed=0)
        model.compile()
        losses.append(model.fit(UserBatches(source, 500), epochs=2, verbose=0).history)
    assert losses[0] == losses[1]


def test_runs_and_slices(tmp_path):
    values = np.arange(1000, dtype="float32")
    np.save(tmp_path / "a.npy", values)
    starts, sizes = np.array([990, 0, 5, 7]), np.array([10, 0, 3, 1])
    expected = np.concatenate([values[990:], values[5:8], values[7:8]])
    mapped = open_array(tmp_path / "a.npy", {"dtype": "<f4", "shape": [1000]}, True)
    for array in (values, mapped, mapped[:]):
        np.testing.assert_array_equal(take_runs(array, starts, sizes), expected)
        pieces = list(slices(array, 300))
        assert [len(piece) for piece in pieces] == [300, 300, 300, 100]
        np.testing.assert_array_equal(np.concatenate(pieces), values)
    # A view begins elsewhere in the file.
    np.testing.assert_array_equal(
        take_runs(mapped[100:], np.array([0]), np.array([2])), [100, 101]
    )


def test_a_folder_that_is_replaced_stays_what_it_was(mapped, clicks, tmp_path):
    other = Interactions.from_matrix(make_clicks(3000, 150, seed=9))
    save_prepared(Split(other), tmp_path / "prepared")
    batches, expected = UserBatches(mapped, 500), UserBatches(clicks, 500)
    np.testing.assert_array_equal(batches[0][0]["item_ids"], expected[0][0]["item_ids"])


def test_a_file_that_is_cut_is_an_error(mapped):
    batches = UserBatches(mapped, 500)
    file = Path(mapped.matrix.indices.filename)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(OSError, match=r"indices.npy has become shorter"):
        for index in range(len(batches)):
            batches[index]
