"""Ranking quality of a model or baseline on held-out users; see docs/method.md."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from keras_multvae.abilities import Ranks
from keras_multvae.data import FoldIn
from keras_multvae.data.columns.clicks import same_entries
from keras_multvae.ranking import TopK, rank, top_k
from keras_multvae.typing import Json


def _discounts(k: int) -> np.ndarray:
    discounts: np.ndarray = 1 / np.log2(np.arange(2, k + 2))
    return discounts


def _ndcg(hits: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    ideal = np.cumsum(_discounts(k))[np.minimum(targets, k) - 1]
    dcg: np.ndarray = hits @ _discounts(hits.shape[1])
    return dcg / ideal


def _mrr(hits: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


def _map(hits: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    total: np.ndarray = (precision * hits).sum(axis=1)
    return total / np.minimum(targets, k)


# Each takes hits (users, <= k) in rank order, the number of targets (users,) and k.
_PER_USER: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "recall": lambda hits, targets, k: hits.sum(axis=1) / np.minimum(targets, k),
    "recall_untruncated": lambda hits, targets, k: hits.sum(axis=1) / targets,
    "ndcg": _ndcg,
    "precision": lambda hits, targets, k: hits.sum(axis=1) / k,
    "hit_rate": lambda hits, targets, k: hits.any(axis=1).astype("float64"),
    "mrr": _mrr,
    "map": _map,
}
METRICS = (*_PER_USER, "coverage")
# What settings are chosen by, on validation users.
CHOSEN_BY = "ndcg@100"
DEFAULT_METRICS = ("recall@20", "recall@50", "ndcg@100")


@dataclass(frozen=True, eq=False)
class RankingReport:
    """Ranking metrics with what is needed to compare them.

    Args:
        values: Per-user float64 arrays (users,) by metric name, in the split's order.
        coverage: Catalogue coverage by metric name: one number, not one a user.
        user_ids: (users,) raw ids of the users that have a target.
        left_out: Int, users without a target.
    """

    values: dict[str, np.ndarray]
    coverage: dict[str, float]
    user_ids: np.ndarray
    left_out: int

    @property
    def users(self) -> int:
        """Users that the means are over."""
        return len(self.user_ids)

    def mean(self, metric: str) -> float:
        """The mean of a metric over users; its value for coverage."""
        if metric in self.coverage:
            return self.coverage[metric]
        return float(self._of_metric(metric).mean())

    def stderr(self, metric: str) -> float | None:
        """The standard error of the mean; None for coverage or a single user."""
        if metric in self.coverage or self.users < 2:
            return None
        return float(stats.sem(self._of_metric(metric)))

    def _of_metric(self, metric: str) -> np.ndarray:
        if metric not in self.values:
            raise KeyError(f"{metric!r} was not measured, only {self.metrics}.")
        return self.values[metric]

    @property
    def metrics(self) -> list[str]:
        """Names of what was measured."""
        return [*self.values, *self.coverage]

    def to_dict(self) -> Json:
        """{"users": n, "recall@20": {"mean": m, "stderr": s}, ...}."""
        return {
            "users": self.users,
            **{
                name: {"mean": self.mean(name), "stderr": self.stderr(name)}
                for name in self.metrics
            },
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict())

    def __str__(self) -> str:
        width = max(len(name) for name in self.metrics)
        lines = [f"{self.users} users"]
        for name in self.metrics:
            error = self.stderr(name)
            spread = "" if error is None else f" ± {error:.4f}"
            lines.append(f"{name:<{width}}  {self.mean(name):.4f}{spread}")
        return "\n".join(lines)


def evaluate_ranking(
    model: Ranks,
    fold_in: FoldIn,
    metrics: Sequence[str] = DEFAULT_METRICS,
    batch_size: int = 500,
) -> RankingReport:
    """Ranks all items for each held-out user and measures how the targets fare.

    The input's items are set to minus infinity and never are hits. Of equal scores the
    lower item index comes first. Users without targets are left out. Memory is that of
    one batch of scores.

    Args:
        model: A `MultVAE`, `MultDAE` or a baseline.
        fold_in: Inputs and targets.
        metrics: Names `metric@k`: "recall" (of min(k, targets), as in the paper),
            "recall_untruncated" (of all targets), "ndcg", "precision", "hit_rate",
            "mrr", "map", "coverage" (share of the catalogue that is recommended).
        batch_size: Int, users scored at a time.

    Returns:
        A `RankingReport`.

    Raises:
        ValueError: An unknown metric, k < 1, other items than the model's, or no user
            with a target, or targets that are the input.

    Example:

    >>> from scipy import sparse
    >>> from keras_multvae import Popularity
    >>> from keras_multvae.data import Interactions, strong_generalization
    >>> clicks = Interactions.from_matrix(sparse.csr_matrix(np.ones((8, 10))))
    >>> split = strong_generalization(clicks, 0, 4)
    >>> model = Popularity(10).fit(split.train)
    >>> print(evaluate_ranking(model, split.test, ["recall@10", "hit_rate@1"]))
    4 users
    recall@10   1.0000 ± 0.0000
    hit_rate@1  1.0000 ± 0.0000

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 4.2
    """
    parsed = {name: _parse(name) for name in metrics}
    if not parsed:
        raise ValueError(f"Name at least one metric of {', '.join(METRICS)}.")
    if model.num_items != fold_in.input.num_items:
        raise ValueError(
            f"The model ranks {model.num_items} items, the split has "
            f"{fold_in.input.num_items}: they do not belong together."
        )
    num_targets = np.diff(fold_in.targets.matrix.indptr)
    users = np.flatnonzero(num_targets)
    if len(users) == 0:
        raise ValueError(f"No user of the split has a target. Received: {fold_in}.")
    if same_entries(fold_in.input.matrix, fold_in.targets.matrix):
        raise ValueError(
            "The targets of the split are its input, whose items are never "
            f"recommended: every figure would be 0. Received: {fold_in}."
        )
    deepest = max(k for _, k in parsed.values())
    values: dict[str, list[np.ndarray]] = {
        name: [] for name, (kind, _) in parsed.items() if kind != "coverage"
    }
    recommended = {
        name: np.zeros(model.num_items, bool)
        for name, (kind, _) in parsed.items()
        if kind == "coverage"
    }
    inputs = fold_in.input.matrix
    for batch, top in rank(model, inputs, deepest, rows=users, batch_size=batch_size):
        hits = _hits(top, fold_in.targets.matrix[batch])
        for name, (kind, k) in parsed.items():
            if kind == "coverage":
                recommended[name][top.indices[:, :k][top.counted[:, :k]]] = True
            else:
                measure = _PER_USER[kind]
                values[name].append(measure(hits[:, :k], num_targets[batch], k))
    return RankingReport(
        {name: np.concatenate(parts) for name, parts in values.items()},
        {name: float(items.mean()) for name, items in recommended.items()},
        fold_in.input.users.ids[users],
        left_out=len(num_targets) - len(users),
    )


def values_of_scores(
    metric: str,
    scores: np.ndarray,
    seen: sparse.csr_matrix,
    targets: sparse.csr_matrix,
) -> np.ndarray:
    """A per-user metric of scores that are at hand, (users,) float64.

    Args:
        metric: See `evaluate_ranking`; not coverage.
        scores: Float32 (users, num_items).
        seen: CSR (users, num_items), what is left out of the ranking.
        targets: CSR (users, num_items), at least one in each row.
    """
    _, k = _parse(metric)
    top = top_k(scores, k, excluded=seen)
    return values_of_top(metric, top, targets, np.ones(len(scores), bool))


def values_of_top(
    metric: str, top: TopK, targets: sparse.csr_matrix, users: np.ndarray
) -> np.ndarray:
    """A per-user metric of rankings that are at hand, float64, one for each of `users`.

    Args:
        metric: See `evaluate_ranking`; not coverage.
        top: As deep as the metric asks for.
        targets: CSR (rankings, num_items).
        users: (rankings,) bools: whose values are wanted, each with a target.
    """
    kind, k = _parse(metric)
    hits = _hits(top, targets)[users, :k]
    return _PER_USER[kind](hits, np.diff(targets.indptr)[users], k)


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of two models over the same users, and its significance.

    Args:
        mean: Mean of first minus second.
        stderr: Its standard error.
        t: Student's t.
        p: Two-sided probability of a difference this large by chance alone.
    """

    mean: float
    stderr: float
    t: float
    p: float

    def cells(self) -> tuple[str, str]:
        """Difference with its standard error, and p, for a table."""
        p = "< 0.001" if self.p < 0.001 else f"{self.p:.3f}"
        return f"{self.mean:+.4f} ± {self.stderr:.4f}", p


def paired_difference(
    first: RankingReport, second: RankingReport, metric: str
) -> PairedDifference:
    """Compares two reports on the same users by a paired t-test.

    Args:
        first: A report.
        second: Another one, of the same split.
        metric: A per-user metric of both.

    Returns:
        `PairedDifference`; p is 1 where the two never differ.

    Raises:
        ValueError: Other users, or fewer than two.
        KeyError: The metric was not measured in both.
    """
    if not np.array_equal(first.user_ids, second.user_ids) or first.users < 2:
        raise ValueError(
            "A paired comparison needs two reports on the same users, at least two. "
            f"Received: {first.users} and {second.users} users."
        )
    return paired_test(first._of_metric(metric), second._of_metric(metric))


def paired_test(a: np.ndarray, b: np.ndarray) -> PairedDifference:
    """The paired t-test of two arrays (users,) of the same users; see above."""
    mean, stderr = float((a - b).mean()), float(stats.sem(a - b))
    if stderr == 0:
        # Every user differs by the same amount: by nothing, or for certain.
        return PairedDifference(
            mean, 0.0, *((0.0, 1.0) if mean == 0 else (math.inf, 0.0))
        )
    test = stats.ttest_rel(a, b)
    return PairedDifference(mean, stderr, float(test.statistic), float(test.pvalue))


def _hits(top: TopK, targets: sparse.csr_matrix) -> np.ndarray:
    """Whether each ranked item is a target: (users, k) float64 of 0 and 1."""
    num_users, num_items = targets.shape
    rows = np.repeat(np.arange(num_users), np.diff(targets.indptr))
    wanted = np.sort(rows * num_items + targets.indices)
    ranked = np.arange(num_users)[:, None] * num_items + top.indices
    place = np.minimum(np.searchsorted(wanted, ranked), len(wanted) - 1)
    return ((wanted[place] == ranked) & top.counted).astype("float64")


def _parse(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\w+)@(\d+)", name)
    if match is None or match[1] not in METRICS or int(match[2]) < 1:
        raise ValueError(
            f"A metric is one of {', '.join(METRICS)}, followed by @k with k >= 1, as "
            f"in recall@20. Received: {name!r}."
        )
    return match[1], int(match[2])
