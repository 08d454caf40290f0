from __future__ import annotations

import keras
import numpy as np
import oracle
import pytest

from keras_multvae import NDCGAtK, RecallAtK
from keras_multvae.metrics import MASKED, LastValue, mask_seen


def value(metric, targets, scores, **kwargs):
    metric.reset_state()
    metric.update_state(np.asarray(targets), np.asarray(scores, "float32"), **kwargs)
    return float(metric.result())


@pytest.mark.parametrize("k", [1, 3, 20, 100])
def test_equal_the_oracle(k):
    rng = np.random.default_rng(k)
    scores = rng.permutation(30 * 40).reshape(30, 40).astype("float32")
    seen = rng.random((30, 40)) < 0.3
    targets = (rng.random((30, 40)) < 0.1) & ~seen
    seen[0], targets[0] = True, False  # has seen everything
    seen[1], targets[1] = False, False  # has no target
    recalls, ndcgs = oracle.ranking_metrics(scores, seen, targets, k)
    masked = mask_seen(keras.ops.convert_to_tensor(scores), seen.astype("float32"))
    masked = keras.ops.convert_to_numpy(masked)
    assert value(RecallAtK(k), targets, masked) == pytest.approx(recalls.mean())
    assert value(NDCGAtK(k), targets, masked) == pytest.approx(ndcgs.mean())


def test_known_answers():
    scores = [[4.0, 3, 2, 1]]
    assert value(RecallAtK(2), [[0, 1, 0, 1]], scores) == pytest.approx(1 / 2)
    assert value(RecallAtK(1), [[1, 1, 1, 1]], scores) == 1  # of min(k, targets)
    dcg, ideal = 1 / np.log2(3), 1 + 1 / np.log2(3)
    assert value(NDCGAtK(4), [[1, 1, 0, 0]], scores) == pytest.approx(1)
    assert value(NDCGAtK(2), [[0, 1, 0, 1]], scores) == pytest.approx(dcg / ideal)


def test_a_masked_item_is_never_a_hit():
    scores = np.array([[1.0, MASKED, MASKED]])
    assert value(RecallAtK(3), [[0, 1, 0]], scores) == 0


def test_users_without_targets_do_not_count_and_none_gives_zero():
    scores = np.array([[2.0, 1], [2.0, 1]])
    assert value(RecallAtK(1), [[1, 0], [0, 0]], scores) == 1
    assert value(RecallAtK(1), [[0, 0], [0, 0]], scores) == 0


def test_weights_and_batches_add_up():
    scores = np.array([[2.0, 1], [2.0, 1]])
    targets = [[1, 0], [0, 1]]
    weighted = value(RecallAtK(1), targets, scores, sample_weight=np.array([3.0, 1.0]))
    assert weighted == 0.75
    metric = RecallAtK(1)
    for row in range(2):
        metric.update_state(np.asarray(targets[row : row + 1]), scores[row : row + 1])
    assert float(metric.result()) == 0.5


@pytest.mark.parametrize("make", [RecallAtK, NDCGAtK])
def test_serialises_and_knows_that_up_is_better(make):
    metric = make(7)
    copy = make.from_config(metric.get_config())
    assert (copy.k, copy.name) == (7, metric.name)
    assert metric._direction == "up"
    with pytest.raises(ValueError, match="integer >= 1"):
        make(0)


def test_last_value_keeps_no_mean():
    metric = LastValue("beta")
    metric.update_state(1.0)
    metric.update_state(3.0)
    result = metric.result()
    metric.update_state(5.0)
    assert float(result) == 3
