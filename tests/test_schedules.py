from __future__ import annotations

import math

import pytest

from keras_multvae import ConstantBeta, CyclicalBeta, LinearBeta

pytestmark = pytest.mark.once


def test_linear_follows_the_formula_of_the_paper():
    beta = LinearBeta(cap=0.2, total_steps=200_000)
    assert beta(0) == 0
    for t in (1, 999, 39_999, 40_000, 40_001, 10**7):
        assert beta(t) == min(0.2, t / 200_000)


def test_zero_steps_mean_the_cap_from_the_start():
    assert LinearBeta(cap=0.3, total_steps=0)(0) == 0.3


def test_cyclical_repeats_and_holds_its_cap():
    beta = CyclicalBeta(cap=0.5, cycle_steps=10, ramp=0.5)
    cycle = [beta(t) for t in range(10)]
    assert cycle == pytest.approx([0, 0.1, 0.2, 0.3, 0.4] + [0.5] * 5)
    assert [beta(t) for t in range(10, 20)] == cycle


def test_schedules_are_equal_by_value():
    assert LinearBeta(0.2, 10) == LinearBeta(0.2, 10) != LinearBeta(0.2, 11)
    assert "cap=0.2" in repr(ConstantBeta(0.2))


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, "1"])
@pytest.mark.parametrize("make", [LinearBeta, ConstantBeta, CyclicalBeta])
def test_bad_numbers_are_named(make, bad):
    with pytest.raises(ValueError, match="finite number >= 0"):
        make(bad)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [("cycle_steps", 0, "> 0"), ("ramp", 0, r"in \(0, 1\]"), ("ramp", 1.1, "in")],
)
def test_a_cycle_has_a_length_and_a_ramp(name, value, wanted):
    with pytest.raises(
        ValueError, match=f"`{name}` must be .*{wanted}.*{name}={value}"
    ):
        CyclicalBeta(**{name: value})
