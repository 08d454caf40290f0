"""Sums of rows where a batch has nothing to sum."""

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("for PyTorch", allow_module_level=True)

import torch

from keras_multvae.backend.torch.sparse import sparse_dense_matmul, sums_of_items


@pytest.mark.parametrize("entries", [0, 4])
def test_a_batch_whose_entries_are_all_dropped(entries):
    kernel = torch.ones((5, 3), requires_grad=True)
    sizes = torch.tensor([entries, 0])
    ids = torch.arange(entries, dtype=torch.int32)
    found = sparse_dense_matmul(
        sizes,
        torch.zeros(entries, dtype=torch.int64),
        ids,
        torch.zeros(entries),
        kernel,
    )
    assert found.shape == (2, 3)
    assert not found.any()
    found.sum().backward()
    assert kernel.grad.shape == (5, 3)
    assert not kernel.grad.any()


def test_rows_that_are_one_number_repeated():
    rows = torch.ones(()).expand(2, 3)
    owners, ids = torch.tensor([0, 1, 1]), torch.tensor([4, 0, 4], dtype=torch.int32)
    found = sums_of_items(rows, owners, ids, torch.tensor([1.0, 2.0, 3.0]), 5)
    expected = torch.zeros((5, 3))
    expected[4], expected[0] = 4, 2
    torch.testing.assert_close(found, expected)
