"""Builds the wheel, installs it with one backend alone, and does the main job there.

Run by `make test` and the workflow of a release; a plain script, for it needs
environments of its own. Then it installs what README's first lines of Python need, and
runs them as they stand.

    python tests/integration/installed_wheel.py --backend jax --backend torch
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

EXTRAS = {"tensorflow": "tensorflow-cpu", "jax": "jax", "torch": "torch"}
JOB = """
import importlib.util
from pathlib import Path

import numpy as np
from scipy import sparse

backends = ("tensorflow", "jax", "torch")
installed = [name for name in backends if importlib.util.find_spec(name) is not None]

import keras
import keras_multvae
from keras_multvae import BetaAnneal, MultVAE, Popularity, Recommender, evaluate_ranking
from keras_multvae.data import Interactions, UserBatches, strong_generalization

assert installed == [keras.backend.backend()], installed
for name in ("polars", "pandas", "matplotlib", "tensorflow_datasets"):
    assert importlib.util.find_spec(name) is None, name
assert "site-packages" in keras_multvae.__file__, keras_multvae.__file__
static = Path(keras_multvae.__file__).parent / "server" / "static"
pages = {"card.html", "index.html", "page.css", "page.js"}
assert {file.name for file in static.iterdir()} == pages
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
if installed == ["tensorflow"]:
    keras_multvae.export_saved_model(recommender, "saved")
else:
    try:
        keras_multvae.export_saved_model(recommender, "saved")
    except ImportError as error:
        assert 'pip install "keras_multvae[tensorflow]"' in str(error), error
    else:
        raise AssertionError("exported without TensorFlow")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", action="append", choices=list(EXTRAS))
    parser.add_argument("--wheel", type=Path, help="a wheel that is there already")
    parser.add_argument("--torch", default="torch", help="what to install of PyTorch")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = given.wheel.resolve() if given.wheel else build(Path(folder, "dist"))
        for backend in given.backend or EXTRAS:
            environment = Path(folder, backend)
            environment.mkdir()
            check(wheel, backend, environment, given.torch)
            print(f"installed wheel, {backend} alone: passed", flush=True)


def build(folder: Path) -> Path:
    """The wheel of this checkout."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, str(ROOT)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def check(wheel: Path, backend: str, folder: Path, torch: str) -> None:
    """Installs the wheel with a backend in a new environment, and tries it there."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment.pop("PYTHONPATH", None)

    def run(*command: str) -> None:
        subprocess.run(
            [python, *command],
            check=True,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    install = ("-m", "pip", "install", "--quiet")
    run(*install, f"{wheel}[{EXTRAS[backend]}]", *([torch] * (backend == "torch")))
    run("-c", JOB)
    run(*install, f"{wheel}[demo]")
    run("-c", quickstart())


def quickstart() -> str:
    """README's first lines of Python."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None and "load_movielens" in found[1]
    return found[1]


if __name__ == "__main__":
    main()
