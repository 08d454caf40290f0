"""The acceptance test of an export: answered by TensorFlow alone, without XLA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_clicks

from keras_multvae import MultDAE, MultVAE, Popularity, Recommender, export_saved_model
from keras_multvae.data import UserBatches, Vocabulary

pytest.importorskip("tensorflow")

ITEMS = 30
FORBIDDEN = ("XlaCallModule", "PyFunc", "EagerPyFunc", "AssignVariableOp")


def make_recommender(ids, kind=MultVAE, likelihood="multinomial"):
    model = kind(ITEMS, 4, (16,), likelihood=likelihood, seed=1)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(UserBatches(make_clicks(60, ITEMS), 20), epochs=2, verbose=0)
    return Recommender(model, Vocabulary(ids))


def answers(saved_model, batches, folder):
    """What a process with TensorFlow alone answers to batches of inputs."""
    np.savez(folder / "requests.npz", *batches)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("answer.py"),
            saved_model,
            folder / "requests.npz",
            folder / "answers.npz",
        ],
        check=True,
        env=environment,
    )
    found = np.load(folder / "answers.npz", allow_pickle=False)
    facts = json.loads(str(found["facts"]))
    keys = {name.partition("/")[2] for name in found if "/" in name}
    return facts, [
        {key: found[f"{i}/{key}"] for key in keys} for i in range(len(batches))
    ]


def check_against(recommender, histories, answer, k):
    expected = recommender.recommend(histories, k=k, on_unknown="skip")
    for row, (items, scores) in enumerate(expected):
        valid = answer["valid"][row]
        assert valid == len(items)
        np.testing.assert_allclose(answer["scores"][row, :valid], scores, atol=1e-5)
        close = len(scores) > 1 and np.abs(np.diff(scores)).min() < 1e-5
        assert close or answer["item_ids"][row, :valid].tolist() == items.tolist()
    assert np.isfinite(answer["scores"]).all()


@pytest.mark.parametrize(
    ("kind", "likelihood"), [(MultVAE, "multinomial"), (MultDAE, "logistic")]
)
def test_strings_in_and_out(tmp_path, kind, likelihood):
    names = [f"film {i}" for i in range(ITEMS)]
    recommender = make_recommender(names, kind, likelihood)
    folder = export_saved_model(recommender, tmp_path / "films", k=100)
    assert folder == tmp_path / "films" / "1"
    rng = np.random.default_rng(0)
    histories = [rng.choice(names, rng.integers(0, 9)).tolist() for _ in range(64)]
    histories[0] = []
    histories[1] = ["film 3", "unknown", "film 3"]
    histories[2] = names  # has seen everything
    width = max(map(len, histories))
    padded = np.array([h + [""] * (width - len(h)) for h in histories])
    batches = [padded, padded[:1], padded[1:4], padded[:3, :0]]
    facts, found = answers(folder, batches, tmp_path)
    check_against(recommender, histories, found[0], k=100)
    check_against(recommender, histories[:1], found[1], k=100)
    check_against(recommender, histories[1:4], found[2], k=100)
    check_against(recommender, [[]] * 3, found[3], k=100)
    # k is cut to the catalogue; what does not count is padding.
    assert found[0]["scores"].shape == (64, ITEMS)
    assert found[0]["valid"][2] == 0
    assert set(found[0]["item_ids"][2]) == {""}
    assert facts["input"] == "item_ids"
    assert set(found[0]) == {"item_ids", "scores", "valid"}
    assert not set(FORBIDDEN) & set(facts["ops"])
    weights = [list(v.shape) for v in recommender.model.trainable_variables]
    assert facts["variables"] == weights


def test_integers_in_and_out(tmp_path):
    recommender = make_recommender(range(100, 100 + ITEMS))
    folder = export_saved_model(recommender, tmp_path / "films", k=5)
    histories = [[101, 102], [], [105, 999, 105]]
    padded = np.array([[101, 102, -1], [-1, -1, -1], [105, 999, 105]])
    _, (found,) = answers(folder, [padded], tmp_path)
    assert found["item_ids"].dtype == np.int64
    check_against(recommender, histories, found, k=5)


@pytest.mark.parametrize("kind", [MultVAE, MultDAE])
def test_keras_own_export(tmp_path, kind):
    recommender = make_recommender(range(ITEMS), kind)
    model = recommender.model
    model.export(tmp_path / "plain")
    rows = make_clicks(64, ITEMS).toarray()
    facts, found = answers(tmp_path / "plain", [rows, rows[:1], rows[:3]], tmp_path)
    expected = model.predict(rows, verbose=0)
    for answer, count in zip(found, (64, 1, 3), strict=True):
        np.testing.assert_allclose(answer["logits"], expected[:count], atol=1e-5)
    assert facts["input"] == "clicks"
    assert not set(FORBIDDEN) & set(facts["ops"])


def test_versions_count_up_and_never_change(tmp_path):
    recommender = make_recommender(range(ITEMS))
    path = tmp_path / "films"
    (path / "7").mkdir(parents=True)
    assert export_saved_model(recommender, path).name == "8"
    with pytest.raises(FileExistsError, match="version 9"):
        export_saved_model(recommender, path, version=8)
    assert export_saved_model(recommender, path, version=3).name == "3"
    assert sorted(each.name for each in path.iterdir()) == ["3", "7", "8"]


def test_a_failed_export_leaves_no_version(tmp_path, monkeypatch):
    from keras_multvae.backend import saved_model

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def full_disk(module, folder, signatures):
            Path(folder, "saved_model.pb").write_bytes(b"half")
            raise OSError("No space left on device")

        monkeypatch.setattr(tf.saved_model, "save", full_disk)
        expected, text = OSError, "No space"
    else:
        monkeypatch.setattr(saved_model.sys, "executable", "/bin/false")
        expected, text = RuntimeError, "failed"
    with pytest.raises(expected, match=text):
        export_saved_model(make_recommender(range(ITEMS)), tmp_path / "films")
    left = list(tmp_path.glob("films/*"))
    assert left == []


def test_bad_use_is_named(tmp_path):
    recommender = make_recommender(range(ITEMS))
    for kwargs in ({"k": 0}, {"version": 0}):
        with pytest.raises(ValueError, match="must be >= 1"):
            export_saved_model(recommender, tmp_path / "x", **kwargs)
    with pytest.raises(TypeError, match="Popularity"):
        export_saved_model(
            Recommender(Popularity(2), Vocabulary(["a", "b"])), tmp_path / "x"
        )
    with pytest.raises(ValueError, match="pads histories"):
        clash = Recommender(recommender.model, Vocabulary(range(-1, ITEMS - 1)))
        export_saved_model(clash, tmp_path / "x")
    assert not (tmp_path / "x").exists()
