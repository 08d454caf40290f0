"""Networks that the plain graph does not know: their layers are traced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from outside import Doubled, FixedPath
from scipy import sparse

from keras_multvae import Recommender, RecVAE, export_saved_model
from keras_multvae.data import Vocabulary
from keras_multvae.serving.plain import is_plain

pytest.importorskip("tensorflow")
ITEMS = 9
IDS = [f"i{item}" for item in range(ITEMS)]
HISTORIES = [["i1", "i2"], [], ["i7", "i3", "i0"]]
# In a process with TensorFlow alone, XLA switched off as in TensorFlow Serving.
SERVED = """
import ctypes, json, sys
import tensorflow as tf
library = ctypes.CDLL(tf.sysconfig.get_lib() + "/libtensorflow_cc.so.2")
library._ZN10tensorflow21DisableXlaCompilationEv()
model = tf.saved_model.load(sys.argv[1])
rows = [row + [""] * (3 - len(row)) for row in json.loads(sys.argv[2])]
found = model.signatures["serving_default"](item_ids=tf.constant(rows))
assert "keras_multvae" not in sys.modules
print(json.dumps({"names": sorted(model.signatures),
    "scores": found["scores"].numpy().tolist(),
    "items": [[i.decode() for i in row] for row in found["item_ids"].numpy()]}))
"""


def answers(model, folder):
    recommender = Recommender(model, Vocabulary(IDS))
    version = export_saved_model(recommender, folder / "model", k=ITEMS)
    run = subprocess.run(
        [sys.executable, "-c", SERVED, str(version), json.dumps(HISTORIES)],
        capture_output=True,
        text=True,
        check=True,
    )
    return recommender.recommend(HISTORIES, k=ITEMS), json.loads(
        run.stdout.splitlines()[-1]
    )


@pytest.mark.parametrize("kind", [FixedPath, Doubled, RecVAE])
def test_what_is_traced_answers_as_the_model(kind, tmp_path):
    model = kind(ITEMS, 4, seed=1)
    model.build_layers()
    if kind is FixedPath:
        model.fixed.assign(np.arange(ITEMS, dtype="float32"))
        model = model.with_linear_path(sparse.random(ITEMS, ITEMS, 0.5, rng=0), 2.0)
    assert not is_plain(model)
    here, served = answers(model, tmp_path)
    for row, (items, scores) in enumerate(here):
        assert served["items"][row][: len(items)] == items.tolist()
        np.testing.assert_allclose(
            served["scores"][row][: len(items)], scores, atol=1e-5
        )
    more = {"embed", "similar_items"}
    assert (more <= set(served["names"])) == (kind is not FixedPath)
    assert more.isdisjoint(served["names"]) == (kind is FixedPath)
    assert (Path(tmp_path) / "model/1/assets.extra/MODEL_CARD.md").is_file()


def test_a_model_with_fixed_weights_goes_on_as_it_was(tmp_path):
    model = FixedPath(ITEMS, seed=1)
    model.build_layers()
    model.fixed.assign(np.arange(ITEMS, dtype="float32"))
    Recommender(model, Vocabulary(IDS)).save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model").model
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(loaded.fixed), np.arange(ITEMS)
    )
    grown = loaded.with_new_items(ITEMS + 2)
    fixed = keras.ops.convert_to_numpy(grown.fixed)
    np.testing.assert_allclose(fixed[:ITEMS], np.arange(ITEMS))


def test_traced_tables_are_not_quantized(tmp_path):
    recommender = Recommender(FixedPath(ITEMS), Vocabulary(IDS))
    with pytest.raises(ValueError, match="FixedPath has layers of its own"):
        export_saved_model(recommender, tmp_path / "model", quantize="int8")
    assert not list(tmp_path.iterdir())
