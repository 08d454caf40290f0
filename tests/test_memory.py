"""What memory is free, and the errors before what would not fit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from keras_multvae import EASE, MultVAE, Popularity, Recipe, SparseEASE, memory, train
from keras_multvae.cli import main
from keras_multvae.data import Interactions, save_prepared, strong_generalization
from keras_multvae.selection import default_models

LIKED = np.random.default_rng(0).random((80, 12)) < 0.5
CLICKS = Interactions.from_events(*(axis.tolist() for axis in LIKED.nonzero()))
SPLIT = strong_generalization(CLICKS, 10, 10)


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes are free, and has small sizes looked at, too."""
    monkeypatch.setattr(memory, "LITTLE", 0)
    return lambda size: monkeypatch.setattr(memory, "available_memory", lambda: size)


@pytest.mark.once
def test_what_the_system_tells(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available_memory() is None
    (tmp_path / "meminfo").write_text("MemFree: 5 kB\nMemAvailable:   2000 kB\n")
    assert memory.available_memory() == 2000 << 10
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    assert memory.available_memory() == 2000 << 10
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.available_memory() == 300
    # Pages of files are given back when memory is needed.
    (tmp_path / "memory.stat").write_text("active_file 50\ninactive_file 200\nfile 9\n")
    assert memory.available_memory() == 550
    (tmp_path / "memory.current").write_text("1700\n")
    assert memory.available_memory() == 0


def test_networks_are_refused_before_they_take_it(free, tmp_path):
    free(0)
    with pytest.raises(MemoryError, match=r"Embeddings of 12 items with 600 numbers"):
        MultVAE(12)
    free(1 << 40)
    model = MultVAE(12, 3, (4,), seed=0)
    free(100)
    with pytest.raises(MemoryError, match=r"The scores of 3 users for 12 items take"):
        model.score(np.ones((3, 12)))
    free(1300)  # The first table has 4 * 12 * 4 bytes, the moments 8 times the weights.
    recipe = Recipe(MultVAE.Config(3, (4,)), epochs=1)
    with pytest.raises(MemoryError, match=r"Adam's moments of 158 weights.*25 users"):
        train(SPLIT, recipe, tmp_path / "state")
    assert not (tmp_path / "state").exists()


@pytest.mark.once
def test_baselines_are_refused_before_they_take_it(free, tmp_path, capsys):
    free(4 * 12**2)
    fitted = EASE(12).fit(CLICKS)
    assert np.isfinite(fitted.score(CLICKS.matrix[:3])).all()
    with pytest.raises(MemoryError, match=r"12 items, twice.*SparseEASE"):
        EASE.tuned(SPLIT)
    free(4 * 12**2 - 1)
    with pytest.raises(MemoryError, match=r"all pairs of 12 items take .*--k-core"):
        EASE(12).fit(CLICKS)
    free(10)
    for model in (fitted, SparseEASE(12).fit(CLICKS), Popularity(12).fit(CLICKS)):
        with pytest.raises(MemoryError, match="scores of 80 users for 12 items"):
            model.score(CLICKS)
    save_prepared(SPLIT, tmp_path / "prepared")
    out = ["--out", f"{tmp_path}/model", "--epochs", "1"]
    assert main(["train", f"{tmp_path}/prepared", *out]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: Embeddings of 12 items" in line


@pytest.mark.once
def test_nothing_is_refused_where_nobody_tells(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    memory.require_memory(1 << 60, "The rows", "Take fewer.")


@pytest.mark.once
def test_large_catalogues_are_compared_by_sparse_models():
    small, large = default_models(20_000), default_models(20_001)
    assert list(small)[1] == "EASE" and list(large)[1] == "SparseEASE"
    path = large["Mult-VAE + linear path"].linear_path
    assert path.neighbours == 200
    assert small["Mult-VAE + linear path"].linear_path.neighbours is None
    clicks = sparse.csr_matrix((1, 20_001), dtype="float32")
    assert large["SparseEASE"][0].fit(clicks).weights.nnz == 0
