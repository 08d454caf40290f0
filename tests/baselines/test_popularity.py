from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from keras_multvae import Popularity
from keras_multvae.files import DamagedFileError

pytestmark = pytest.mark.once

CLICKS = sparse.csr_matrix([[1, 5, 0], [0, 1, 0]])


def test_scores_are_log_shares_of_users_with_one_added():
    model = Popularity(3).fit(CLICKS)
    np.testing.assert_allclose(
        np.exp(model.score(CLICKS)), [[2 / 6, 3 / 6, 1 / 6]] * 2, rtol=1e-6
    )


def test_save_and_load(tmp_path):
    model = Popularity(3).fit(CLICKS)
    model.save(tmp_path / "model.npz")
    loaded = Popularity.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.score(CLICKS), model.score(CLICKS))


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="ranks 4 items"):
        Popularity(4).fit(CLICKS)
    with pytest.raises(DamagedFileError, match="no Popularity model"):
        Popularity.load(tmp_path / "missing.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DamagedFileError, match="no Popularity model"):
        Popularity.load(tmp_path / "cut.npz")
