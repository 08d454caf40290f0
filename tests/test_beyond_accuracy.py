"""Novelty, diversity and the others, each against a plain loop."""

from __future__ import annotations

import json

import evaluation_loops as loops
import numpy as np
import pytest
from conftest import make_clicks
from scipy import sparse

from keras_multvae import EASE, Popularity, evaluate_ranking
from keras_multvae.cli import main
from keras_multvae.data import FoldIn, Interactions
from keras_multvae.evaluation.beyond_accuracy import gini
from keras_multvae.features import ItemFeatures
from keras_multvae.ranking import rank

pytestmark = pytest.mark.once
USERS, ITEMS, K = 50, 40, 7
LABELS = [["a", "b"], ["b"], [], ["c"], ["a"]] * 8


@pytest.fixture(scope="module")
def parts():
    """A model, a fold-in, the training clicks and features, as lists, too."""
    train = Interactions.from_matrix(make_clicks(80, ITEMS, 0.1, seed=1))
    whole = make_clicks(USERS, ITEMS, 0.4, seed=2)
    given = sparse.csr_matrix(whole.multiply(make_clicks(USERS, ITEMS, 0.6, seed=3)))
    given.eliminate_zeros()
    targets = sparse.csr_matrix(whole - given)
    targets.eliminate_zeros()
    fold_in = FoldIn(*map(Interactions.from_matrix, (given, targets)))
    rng = np.random.default_rng(0)
    features = ItemFeatures.from_columns(
        {"labels": LABELS, "vector": rng.normal(size=(ITEMS, 3))}
    )
    return EASE(ITEMS, 5.0).fit(train), fold_in, train, features


def lists_of(model, fold_in):
    """For each user with a target: the list, its history and the targets."""
    inputs, targets = fold_in.input.matrix, fold_in.targets.matrix
    rows = np.flatnonzero(np.diff(targets.indptr))
    found = []
    for batch, top in rank(model, inputs, K, rows=rows):
        for user, items, valid in zip(batch, top.indices, top.valid, strict=True):
            history = inputs[user].indices.tolist()
            found.append((items[:valid].tolist(), history, targets[user].indices))
    return found


MEASURES = ("novelty", "diversity", "serendipity", "popularity_lift", "miscalibration")


def test_each_measure_is_its_loop(parts):
    model, fold_in, train, features = parts
    clicks = train.matrix.getnnz(axis=0).tolist()
    users = int((np.diff(train.matrix.indptr) > 0).sum())
    vectors = np.asarray(features.unit_rows()).tolist()
    found = evaluate_ranking(
        model,
        fold_in,
        [f"{name}@{K}" for name in (*MEASURES, "gini", "coverage", "ndcg_by_decile")],
        batch_size=13,
        train=train,
        features=features,
        label="labels",
    )
    lists = lists_of(model, fold_in)
    expected = {
        "novelty": [loops.novelty(i, clicks, users) for i, _, _ in lists],
        "diversity": [loops.diversity(i, vectors) for i, _, _ in lists],
        "serendipity": [loops.serendipity(i, t, clicks, K) for i, _, t in lists],
        "popularity_lift": [loops.popularity_lift(i, h, clicks) for i, h, _ in lists],
        "miscalibration": [loops.miscalibration(i, h, LABELS) for i, h, _ in lists],
    }
    for decile in range(1, 11):
        expected[f"ndcg_decile_{decile}"] = [
            loops.ndcg_of_decile(i, t, clicks, decile, K) for i, _, t in lists
        ]
    for name, values in expected.items():
        np.testing.assert_allclose(
            found.values[f"{name}@{K}"], values, rtol=1e-6, atol=1e-12, err_msg=name
        )
        told = [value for value in values if value == value]
        assert found.mean(f"{name}@{K}") == pytest.approx(np.mean(told))
    counts = np.bincount(
        [item for each, _, _ in lists for item in each], minlength=ITEMS
    )
    assert found.mean(f"gini@{K}") == pytest.approx(loops.gini(counts.tolist()))
    assert found.mean(f"coverage@{K}") == (counts > 0).mean()
    assert found.stderr(f"gini@{K}") is None
    assert "NaN" not in found.to_json()


def test_known_answers():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == 0.75
    assert gini(np.zeros(3)) == 0


def test_a_list_like_its_history_is_calibrated(parts):
    _, _, train, _ = parts
    one = sparse.csr_matrix(([1.0], ([0], [0])), shape=(1, ITEMS))
    two = sparse.csr_matrix(([1.0], ([0], [1])), shape=(1, ITEMS))
    fold_in = FoldIn(*map(Interactions.from_matrix, (one, two)))
    same = ItemFeatures.from_columns({"kind": ["x"] * ITEMS})
    report = evaluate_ranking(
        Popularity(ITEMS).fit(train),
        fold_in,
        ["miscalibration@5", "diversity@5", "diversity@1"],
        features=same,
        label="kind",
    )
    assert report.mean("miscalibration@5") == pytest.approx(0, abs=1e-12)
    assert report.mean("diversity@5") == pytest.approx(0, abs=1e-6)
    assert report.mean("diversity@1") == 0


@pytest.mark.parametrize(
    ("metric", "options", "message"),
    [
        ("novelty@5", {}, "Give `train=interactions`"),
        ("ndcg_by_decile@5", {}, "Give `train=interactions`"),
        ("miscalibration@5", {"features": True}, "Give `features=` and `label=`"),
        ("miscalibration@5", {"label": "labels"}, "give both"),
        ("miscalibration@5", {"features": True, "label": "x"}, "no feature 'x'"),
        ("diversity@5", {}, "Give `features=`"),
        ("novelty@5", {"train": sparse.csr_matrix((2, 3))}, "must be of the 40 items"),
        ("gini@0", {}, "k >= 1"),
    ],
)
def test_what_a_measure_lacks_is_said(parts, metric, options, message):
    model, fold_in, _, features = parts
    if options.get("features"):
        options = {**options, "features": features}
    with pytest.raises(
        ValueError, match=message.replace("(", r"\(").replace(")", r"\)")
    ):
        evaluate_ranking(model, fold_in, [metric], **options)


def test_the_command_measures_by_the_prepared_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [f"{u},{i}" for u in range(60) for i in rng.permutation(20)[:8]]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id", *rows]))
    items = [f"{i},Item {i},{'xy'[i % 2]}" for i in range(20)]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title,kind", *items]))
    options = ["--items", "items.csv", "--features", "kind"]
    assert main(["prepare", "log.csv", "--out", "prepared", *options]) == 0
    train = ["--epochs", "1", "--batch-size", "20", "--latent-dim", "2"]
    assert main(["train", "prepared", "--out", "model", *train]) == 0
    capsys.readouterr()
    names = "ndcg@10,novelty@10,diversity@10,gini@10,miscalibration@10"
    command = ["evaluate", "model", "prepared", "--json", "--metrics", names]
    assert main([*command, "--label", "kind"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"users", *names.split(",")}
    assert found["novelty@10"]["mean"] > 0
    capped = ["--at-most", "3", "--by", "kind", "--candidates", "10"]
    assert main([*command[:-1], "gini@10,ndcg@10", *capped]) == 0
    assert json.loads(capsys.readouterr().out)["ndcg@10"] != found["ndcg@10"]
    assert main(command) == 1
    assert "--label" in capsys.readouterr().err
