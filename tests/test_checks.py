from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_multvae import BetaAnneal, FreezeBeta, RecallAtK, checks

pytestmark = pytest.mark.once

BAD_NUMBERS = ["1", None, True, np.True_, math.nan, np.float32("nan"), 1j, [1], 10**400]


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_of_any_kind_become_ints(value):
    found = checks.integer("k", value)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [0, -1, 2.0, np.float64(2), *BAD_NUMBERS[:-1]])
def test_what_is_no_integer_is_refused(value):
    with pytest.raises(
        ValueError, match=r"^`k` must be an integer >= 1\. Received: k="
    ):
        checks.integer("k", value)


def test_the_smallest_integer_can_be_chosen():
    assert checks.integer("seed", 0, 0) == 0
    with pytest.raises(ValueError, match=r"`k` must be an integer >= 5.*k=np.int64\(4"):
        checks.integer("k", np.int64(4), at_least=5)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float16(0.5)])
def test_numbers_of_any_kind_become_floats(value):
    for found in (checks.number("l2", value), checks.share("l2", value)):
        assert found == 0.5 and type(found) is float
    assert type(checks.number("l2", np.int64(2))) is float


@pytest.mark.parametrize("value", [-0.1, math.inf, *BAD_NUMBERS])
def test_what_is_no_finite_number_is_refused(value):
    message = r"^`l2` must be a finite number >= 0\. Received: l2="
    with pytest.raises(ValueError, match=message):
        checks.number("l2", value)
    with pytest.raises(ValueError, match=r"`l2` must be a finite number > 0\."):
        checks.number("l2", value, above=0)


def test_a_limit_may_be_left_out():
    assert checks.number("l2", 0) == 0
    with pytest.raises(ValueError, match=r"> 0.*l2=0"):
        checks.number("l2", 0, above=0)


@pytest.mark.parametrize("interval", ["[0, 1]", "[0, 1)", "(0, 1]", "(0, 1)"])
def test_a_share_is_between_zero_and_one(interval):
    for value, good in ((0, interval[0] == "["), (1, interval[-1] == "]")):
        if good:
            assert checks.share("part", value, interval) == value
        else:
            with pytest.raises(
                ValueError, match=f"must be a number in .{interval[1:-1]}"
            ):
                checks.share("part", value, interval)
    for value in (-0.1, 1.1, math.inf, *BAD_NUMBERS):
        with pytest.raises(ValueError, match="Received: part="):
            checks.share("part", value, interval)


@pytest.mark.parametrize("value", ["c", None, 1, ["a"]])
def test_a_choice_is_one_of_those_named(value):
    assert checks.choice("kind", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r"`kind` must be one of 'a', 'b'\. R"):
        checks.choice("kind", value, ("a", "b"))


def test_public_arguments_may_be_numpy_scalars():
    assert BetaAnneal(total_steps=np.int64(100)).schedule(10) == 0.1
    assert BetaAnneal(cap=np.float32(0.5), schedule="constant").schedule(0) == 0.5
    assert type(FreezeBeta(patience=np.int64(2)).patience) is int
    metric = RecallAtK(np.int64(5))
    assert (metric.name, type(metric.k)) == ("recall_at_5", int)


def test_the_module_needs_no_other_package():
    code = (
        "import sys, runpy; runpy.run_path(sys.argv[1])\n"
        "print({'keras', 'numpy'} & {*sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(Path(checks.__file__))],
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "set()", run.stderr
