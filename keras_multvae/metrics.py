"""Ranking metrics in keras.ops, for `evaluate` and `val_...` logs."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_multvae import backend, checks, compat
from keras_multvae.typing import Json, Tensor

# Finite, so that no arithmetic on scores gives NaN; below every real score.
MASKED = float(np.finfo("float32").min)


def mask_seen(scores: Tensor, seen: Tensor) -> Tensor:
    """Scores (users, items) with the items where `seen` > 0 set to `MASKED`."""
    scores = ops.cast(scores, "float32")
    return ops.where(seen > 0, MASKED, scores)


class _RankingMetric(keras.metrics.Metric):
    """Mean over the users with a target; higher is better.

    Of equal scores the lower item index comes first, as in `evaluate_ranking`.
    """

    def __init__(self, k: int, name: str, dtype: object = None) -> None:
        k = checks.integer("k", k)
        super().__init__(name=name, dtype=dtype)
        self.k = k
        # For EarlyStopping and ModelCheckpoint in mode="auto".
        compat.higher_is_better(self)
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None
    ) -> None:
        """Adds a batch.

        Args:
            y_true: Targets (users, items); an item above 0 is relevant.
            y_pred: Scores (users, items), seen items set to `MASKED` (never to 0).
            sample_weight: Optional (users,), the weight of each user in the mean.
        """
        y_pred = ops.cast(y_pred, "float32")
        relevant = ops.cast(ops.cast(y_true, "float32") > 0, "float32")
        scores, top = backend.top_k(y_pred, min(self.k, y_pred.shape[-1]))
        hits = ops.take_along_axis(relevant, top, axis=-1)
        hits = hits * ops.cast(scores > MASKED, "float32")
        targets = ops.sum(relevant, axis=-1)
        values = self._per_user(hits, ops.minimum(targets, float(self.k)))
        weights = ops.cast(targets > 0, "float32")
        if sample_weight is not None:
            weights = weights * ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        self.total.assign_add(ops.cast(ops.sum(values * weights), self.dtype))
        self.count.assign_add(ops.cast(ops.sum(weights), self.dtype))

    def _per_user(self, hits: Tensor, ideal_hits: Tensor) -> Tensor:
        """Hits (users, k) in rank order and their possible number -> (users,)."""
        raise NotImplementedError

    def result(self) -> Tensor:
        """The mean; 0 if no user had a target."""
        return ops.divide_no_nan(self.total, self.count)

    def get_config(self) -> Json:
        """See `keras.metrics.Metric.get_config`."""
        return {**super().get_config(), "k": self.k}


@keras.saving.register_keras_serializable(package="keras_multvae")
class RecallAtK(_RankingMetric):
    """`|top-k and targets| / min(k, |targets|)`, averaged over users with a target.

    Args:
        k: Int >= 1, the length of the ranking.
        name: The name in the logs, `recall_at_{k}` by default.
        dtype: The dtype of the running sums.

    Example:

    >>> import numpy as np
    >>> metric = RecallAtK(2)
    >>> metric.update_state(np.array([[1, 0, 1, 0]]), np.array([[4.0, 3.0, 2.0, 1.0]]))
    >>> float(metric.result())
    0.5

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 4.2
    """

    def __init__(self, k: int, name: str | None = None, dtype: object = None) -> None:
        super().__init__(k, name or f"recall_at_{k}", dtype)

    def _per_user(self, hits: Tensor, ideal_hits: Tensor) -> Tensor:
        return ops.divide_no_nan(ops.sum(hits, axis=-1), ideal_hits)


@keras.saving.register_keras_serializable(package="keras_multvae")
class NDCGAtK(_RankingMetric):
    """DCG with gains 0 or 1, over that of the best ranking of the user's targets.

    The discount is 1 / log2(rank + 1), the best ranking has min(k, |targets|) hits.

    Args:
        k: Int >= 1, the length of the ranking.
        name: The name in the logs, `ndcg_at_{k}` by default.
        dtype: The dtype of the running sums.

    Example:

    >>> import numpy as np
    >>> metric = NDCGAtK(3)
    >>> metric.update_state(np.array([[0, 0, 1]]), np.array([[3.0, 2.0, 1.0]]))
    >>> float(metric.result())
    0.5

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 4.2
    """

    def __init__(self, k: int, name: str | None = None, dtype: object = None) -> None:
        super().__init__(k, name or f"ndcg_at_{k}", dtype)

    def _per_user(self, hits: Tensor, ideal_hits: Tensor) -> Tensor:
        discounts = 1 / np.log2(np.arange(2, self.k + 2))
        ideal = np.concatenate([[0.0], np.cumsum(discounts)]).astype("float32")
        found = ops.convert_to_tensor(discounts[: hits.shape[-1]].astype("float32"))
        dcg = ops.sum(hits * found, axis=-1)
        best = ops.take(ops.convert_to_tensor(ideal), ops.cast(ideal_hits, "int32"))
        return ops.divide_no_nan(dcg, best)


@keras.saving.register_keras_serializable(package="keras_multvae")
class LastValue(keras.metrics.Metric):
    """The value of the last update, for quantities that change every step, as beta."""

    def __init__(self, name: str = "last_value", dtype: object = None) -> None:
        super().__init__(name=name, dtype=dtype)
        # All replicas compute the same value, so it must not be summed.
        self.value = self.add_variable(
            (), initializer="zeros", aggregation="only_first_replica", name="value"
        )

    def update_state(self, value: Tensor, sample_weight: Tensor = None) -> None:
        """Replaces the value by a scalar."""
        self.value.assign(ops.cast(value, self.dtype))

    def result(self) -> Tensor:
        """The last value."""
        # A copy, as on PyTorch the logs would hold the variable's own tensor.
        return ops.copy(self.value)
