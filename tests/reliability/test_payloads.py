"""A sample of benchmarks/reliability/payloads.py: code in models and data."""

from __future__ import annotations

import contextlib
import pickle
import shutil

import numpy as np
import pytest

from benchmarks.reliability import folders, forging
from benchmarks.reliability.payloads import PAYLOADS, RAN, Payload, read

pytestmark = pytest.mark.once
KINDS = ("prepared", "multvae", "ease", "state", "study")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    folders.make(folder, KINDS)
    return folder


def test_a_payload_runs_where_somebody_lets_it(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / RAN)))
    assert (tmp_path / RAN).exists()


@pytest.mark.parametrize("name", PAYLOADS)
def test_code_in_a_folder_does_not_run(made, tmp_path, monkeypatch, name):
    kinds, put = PAYLOADS[name]
    for number, kind in enumerate(kinds):
        if kind not in (*KINDS, "events"):
            continue
        copy = tmp_path / str(number)
        if kind == "events":
            copy.mkdir()
        else:
            shutil.copytree(made / kind, copy)
        put(copy, tmp_path / RAN, np.random.default_rng(number))
        forging.sign(copy)
        monkeypatch.chdir(copy)
        with contextlib.suppress(ValueError, TypeError, OSError):
            read(kind, copy)
        assert not (tmp_path / RAN).exists(), kind
