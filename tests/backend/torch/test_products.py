"""Products of matrices by either library of PyTorch, against float64."""

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("for PyTorch", allow_module_level=True)

import torch

from keras_multvae import compat
from keras_multvae.backend.torch import products

NORMAL = torch.Generator().manual_seed(0)


def draw(*shape):
    return torch.randn(shape, generator=NORMAL)


CASES = {
    "plain": (draw(5, 3), draw(3, 7), draw(7)),
    "without bias": (draw(5, 3), draw(3, 7), None),
    "transposed": (draw(3, 5).T, draw(7, 3).T, draw(7)),
    "parts of larger ones": (draw(5, 9)[:, 2:5], draw(3, 20)[:, 4:18:2], draw(14)[::2]),
    "a number repeated": (draw(1, 1).expand(5, 3), draw(3, 7), draw(1).expand(7)),
    "one row": (draw(1, 3), draw(3, 1), draw(1)),
    "no rows": (draw(0, 3), draw(3, 7), draw(7)),
    "an empty sum": (draw(5, 0), draw(0, 7), draw(7)),
    "float64": (draw(5, 3).double(), draw(3, 7).double(), draw(7).double()),
    "bfloat16": (draw(5, 3).bfloat16(), draw(3, 7).bfloat16(), draw(7).bfloat16()),
}


@pytest.fixture(params=["MKL", "oneDNN"])
def library(request, monkeypatch):
    linear = compat.onednn_linear() if request.param == "oneDNN" else None
    if request.param == "oneDNN" and linear is None:
        pytest.skip("This PyTorch was built without oneDNN.")
    monkeypatch.setattr(products, "_onednn", lambda: linear)


@pytest.mark.parametrize("case", CASES)
def test_product(library, case):
    left, right, bias = CASES[case]
    found = products.product(left, right, bias)
    expected = left.double() @ right.double()
    if bias is not None:
        expected = expected + bias.double()
    assert found.dtype == left.dtype
    near = 2e-2 if left.dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(found.double(), expected, rtol=near, atol=near)


def test_numbers_that_are_none_spread(library):
    left = draw(5, 3)
    left[1, 0] = float("nan")
    found = products.product(left, draw(3, 7))
    assert found[1].isnan().all()
    assert found[[0, 2, 3, 4]].isfinite().all()
