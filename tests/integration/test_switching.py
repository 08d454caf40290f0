"""A model trained on one backend scores the same on the others."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_clicks

import keras_multvae
from keras_multvae import BetaAnneal, MultVAE
from keras_multvae.data import UserBatches

ROOT = Path(keras_multvae.__file__).parents[1]
READ = """
import sys, keras, keras_multvae, numpy, scipy.sparse
from keras_multvae.data import UserBatches
folder, clicks = sys.argv[1], scipy.sparse.load_npz(sys.argv[1] + "/clicks.npz")
model = keras.saving.load_model(folder + "/model.keras")
numpy.save(f"{folder}/{keras.backend.backend()}.npy", model.score(clicks))
history = model.fit(UserBatches(clicks, 10), verbose=0).history
assert abs(history["beta"][0] - 0.11) < 1e-6, history  # twelfth step of 100
"""


@pytest.mark.parametrize("other", ["tensorflow", "jax", "torch"])
def test_switching(tmp_path, other):
    if other == keras.backend.backend():
        pytest.skip("saving and loading on one backend is tested elsewhere")
    if importlib.util.find_spec(other) is None:
        pytest.skip(f"{other} is not installed")
    from scipy import sparse

    clicks = make_clicks(40, 12)
    sparse.save_npz(tmp_path / "clicks.npz", clicks)
    model = MultVAE(12, 3, (6,), seed=1)
    model.compile()
    batches = UserBatches(clicks, 10)
    model.fit(batches, epochs=2, verbose=0, callbacks=[BetaAnneal(1.0, 100)])
    model.save(tmp_path / "model.keras")
    environment = {
        **os.environ,
        "KERAS_BACKEND": other,
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], env=environment, check=True
    )
    np.testing.assert_allclose(
        np.load(tmp_path / f"{other}.npy"), model.score(clicks), atol=2e-6
    )
