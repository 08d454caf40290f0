from __future__ import annotations

import json
import math

import numpy as np
import pytest
from conftest import make_clicks
from scipy import stats

from keras_multvae import MultVAE, NDCGAtK, Popularity, RecallAtK, evaluate_ranking
from keras_multvae.data import FoldIn, Interactions, UserBatches
from keras_multvae.evaluation import paired_difference


class Fixed:
    """Scores that do not depend on the history but on who asks, in order."""

    def __init__(self, scores):
        self.scores, self.num_items = scores, scores.shape[1]
        self.served = 0

    def score(self, histories, batch_size=500):
        start, self.served = self.served, self.served + histories.shape[0]
        return self.scores[start : self.served]


def make_fold_in(users=40, items=12):
    seen = make_clicks(users, items, 0.3).tolil()
    targets = make_clicks(users, items, 0.3, seed=1).tolil()
    seen[5] = 1  # has seen everything
    targets[6] = 0  # has no target
    return FoldIn(
        Interactions.from_matrix(seen.tocsr()),
        Interactions.from_matrix(targets.tocsr()),
    )


def brute_force(scores, fold_in, k):
    """Every metric of every user with a target, by plain loops."""
    seen, targets = fold_in.input.matrix.toarray(), fold_in.targets.matrix.toarray()
    rows, shown = [], set()
    for u in range(len(scores)):
        wanted = set(np.flatnonzero(targets[u]).tolist())
        if not wanted:
            continue
        unseen = [i for i in range(scores.shape[1]) if not seen[u, i]]
        top = sorted(unseen, key=lambda i: (-scores[u, i], i))[:k]
        shown.update(top)
        ranks = [r for r, i in enumerate(top, start=1) if i in wanted]
        best = min(k, len(wanted))
        rows.append(
            {
                f"recall@{k}": len(ranks) / best,
                f"recall_untruncated@{k}": len(ranks) / len(wanted),
                f"precision@{k}": len(ranks) / k,
                f"hit_rate@{k}": float(bool(ranks)),
                f"mrr@{k}": 1 / ranks[0] if ranks else 0.0,
                f"map@{k}": sum(n / r for n, r in enumerate(ranks, start=1)) / best,
                f"ndcg@{k}": sum(1 / math.log2(r + 1) for r in ranks)
                / sum(1 / math.log2(r + 1) for r in range(1, best + 1)),
            }
        )
    return rows, len(shown) / scores.shape[1]


@pytest.mark.parametrize("k", [1, 4, 12, 100])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_every_metric_equals_plain_loops(k, levels):
    fold_in = make_fold_in()
    scores = np.random.default_rng(k).integers(0, levels, (40, 12)).astype("float64")
    expected, coverage = brute_force(scores, fold_in, k)
    with_targets = np.flatnonzero(np.diff(fold_in.targets.matrix.indptr))
    names = [*expected[0], f"coverage@{k}"]
    report = evaluate_ranking(Fixed(scores[with_targets]), fold_in, names, batch_size=7)
    assert (report.users, report.left_out) == (len(expected), 40 - len(expected))
    for name in expected[0]:
        values = [row[name] for row in expected]
        np.testing.assert_allclose(report.values[name], values, atol=1e-12)
        assert report.mean(name) == pytest.approx(np.mean(values))
        assert report.stderr(name) == pytest.approx(stats.sem(values))
    assert report.mean(f"coverage@{k}") == pytest.approx(coverage)
    assert report.stderr(f"coverage@{k}") is None


def test_agrees_with_the_metrics_in_evaluate():
    fold_in = make_fold_in()
    model = MultVAE(12, 3, (6,), seed=1)
    model.compile(metrics=[RecallAtK(3), NDCGAtK(100)])
    logs = model.evaluate(
        UserBatches(fold_in.input, 7, targets=fold_in.targets),
        verbose=0,
        return_dict=True,
    )
    report = evaluate_ranking(model, fold_in, ["recall@3", "ndcg@100"])
    assert report.mean("recall@3") == pytest.approx(logs["recall_at_3"], abs=1e-6)
    assert report.mean("ndcg@100") == pytest.approx(logs["ndcg_at_100"], abs=1e-6)


def test_ndcg_agrees_with_keras_rs():
    keras_rs = pytest.importorskip("keras_rs")
    fold_in = make_fold_in()
    scores = np.random.default_rng(0).random((40, 12))
    kept = np.flatnonzero(np.diff(fold_in.targets.matrix.indptr))
    report = evaluate_ranking(Fixed(scores[kept]), fold_in, ["ndcg@4"])
    seen = fold_in.input.matrix.toarray()[kept] > 0
    # A target that has been seen counts for us, but cannot be hit: none here.
    wanted = fold_in.targets.matrix.toarray()[kept]
    clean = ~(seen & (wanted > 0)).any(axis=1) & (np.sum(~seen, axis=1) >= 4)
    metric = keras_rs.metrics.NDCG(k=4)
    masked = np.where(seen, -1.0, scores[kept])[clean].astype("float32")
    metric.update_state(wanted[clean].astype("float32"), masked)
    expected = report.values["ndcg@4"][clean].mean()
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_report_prints_and_serialises():
    fold_in = make_fold_in()
    model = Popularity(12).fit(fold_in.input)
    report = evaluate_ranking(model, fold_in, ["recall@2", "coverage@2"])
    parsed = json.loads(report.to_json())
    assert parsed["users"] == report.users
    assert set(parsed["recall@2"]) == {"mean", "stderr"}
    assert "recall@2" in str(report) and "±" in str(report)
    recall, coverage = report.to_markdown().splitlines()[2:]
    mean, error = parsed["recall@2"]["mean"], parsed["recall@2"]["stderr"]
    assert recall == f"| recall@2 | {mean:.4f} | {error:.4f} |"
    assert coverage == f"| coverage@2 | {parsed['coverage@2']['mean']:.4f} |  |"
    assert report.user_ids.tolist() == [u for u in range(40) if u not in (2, 6)]


def test_paired_difference_is_the_paired_t_test():
    fold_in = make_fold_in()
    users = 38
    rng = np.random.default_rng(0)
    a, b = (
        evaluate_ranking(Fixed(rng.random((users, 12))), fold_in, ["ndcg@5"])
        for _ in range(2)
    )
    found = paired_difference(a, b, "ndcg@5")
    expected = stats.ttest_rel(a.values["ndcg@5"], b.values["ndcg@5"])
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert paired_difference(a, a, "ndcg@5").p == 1
    with pytest.raises(KeyError, match="not measured"):
        paired_difference(a, b, "recall@5")


def test_bad_input_is_named():
    fold_in = make_fold_in()
    model = Popularity(12)
    for name in ("recall", "recall@0", "auc@5", "recall@x"):
        with pytest.raises(ValueError, match="A metric is one of"):
            evaluate_ranking(model, fold_in, [name])
    with pytest.raises(ValueError, match="do not belong together"):
        evaluate_ranking(Popularity(5), fold_in)
    with pytest.raises(ValueError, match="at least one metric"):
        evaluate_ranking(model, fold_in, [])
    none = np.zeros(fold_in.targets.num_entries, bool)
    empty = FoldIn(fold_in.input, fold_in.targets.select_entries(none))
    with pytest.raises(ValueError, match="No user"):
        evaluate_ranking(model, empty)


def test_targets_that_are_the_input_are_refused():
    inputs = make_fold_in().input
    with pytest.raises(ValueError, match="are its input, whose items are never"):
        evaluate_ranking(Fixed(np.zeros((40, 12))), FoldIn(inputs, inputs), ["ndcg@4"])
