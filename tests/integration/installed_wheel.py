"""Builds the wheel, installs it with JAX alone, and does the main job there.

Run by `make test`; a plain script, for it needs an environment of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

JOB = """
import importlib.util
from pathlib import Path

import numpy as np
from scipy import sparse

assert importlib.util.find_spec("tensorflow") is None
assert importlib.util.find_spec("torch") is None

import keras_multvae
from keras_multvae import BetaAnneal, MultVAE, Popularity, Recommender, evaluate_ranking
from keras_multvae.data import Interactions, UserBatches, strong_generalization

assert "site-packages" in keras_multvae.__file__, keras_multvae.__file__
static = Path(keras_multvae.__file__).parent / "server" / "static"
assert {file.name for file in static.iterdir()} == {"index.html", "page.css", "page.js"}
rng = np.random.default_rng(0)
taste = np.arange(300)[:, None] % 2 == np.arange(40)[None] % 2
taste &= rng.random((300, 40)) < 0.6
clicks = Interactions.from_matrix(sparse.csr_matrix(taste))
split = strong_generalization(clicks, 0, 50)
model = MultVAE(split.train.num_items, 4, (16,), seed=1)
model.compile()
model.fit(UserBatches(split.train, 10), epochs=30, verbose=0, callbacks=[BetaAnneal()])
before = evaluate_ranking(model, split.test).mean("ndcg@100")
popularity = Popularity(split.train.num_items).fit(split.train)
baseline = evaluate_ranking(popularity, split.test).mean("ndcg@100")
assert before > 1.3 * baseline, (before, baseline)
Recommender(model, split.train.items).save("model")
recommender = Recommender.load("model")
assert evaluate_ranking(recommender.model, split.test).mean("ndcg@100") == before
items = recommender.recommend([0, 2, 4], k=5).items[0]
assert (items % 2 == 0).all(), items
try:
    keras_multvae.export_saved_model(recommender, "saved")
except ImportError as error:
    assert "keras_multvae[tensorflow]" in str(error), error
else:
    raise AssertionError("exported without TensorFlow")
print("installed wheel: 1 passed")
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--outdir", folder, str(ROOT)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = Path(folder).glob("*.whl")
        venv.create(Path(folder) / "venv", with_pip=True)
        python = Path(folder) / "venv" / "bin" / "python"
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", f"{wheel}[jax]"],
            check=True,
        )
        environment = {**os.environ, "KERAS_BACKEND": "jax"}
        environment.pop("PYTHONPATH", None)
        subprocess.run([python, "-c", JOB], check=True, cwd=folder, env=environment)


if __name__ == "__main__":
    main()
