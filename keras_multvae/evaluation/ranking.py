"""Ranking quality of a model or baseline on held-out users; see docs/method.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy import sparse

from keras_multvae.abilities import Ranks
from keras_multvae.data import FoldIn, Interactions
from keras_multvae.data.columns.clicks import same_entries
from keras_multvae.evaluation import accuracy, beyond_accuracy
from keras_multvae.evaluation.accuracy import hits_of
from keras_multvae.evaluation.beyond_accuracy import OF_ALL, catalogue_of
from keras_multvae.evaluation.report import RankingReport
from keras_multvae.evaluation.tally import BY_DECILE, Tally
from keras_multvae.features import ItemFeatures
from keras_multvae.ranking import TopK, select_rows, top_k
from keras_multvae.reranking import Reranking, rank_anew

METRICS = (*accuracy.PER_USER, *beyond_accuracy.PER_USER, BY_DECILE, *OF_ALL)
# What settings are chosen by, on validation users.
CHOSEN_BY = "ndcg@100"
DEFAULT_METRICS = ("recall@20", "recall@50", "ndcg@100")


def evaluate_ranking(
    model: Ranks,
    fold_in: FoldIn,
    metrics: Sequence[str] = DEFAULT_METRICS,
    batch_size: int = 500,
    *,
    train: Interactions | sparse.csr_matrix | None = None,
    features: ItemFeatures | None = None,
    label: str | None = None,
    rerank: Reranking | None = None,
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
            "mrr", "map"; "coverage" (share of the catalogue that is recommended),
            "gini" (how unevenly); "novelty" (bits), "diversity", "serendipity",
            "popularity_lift", "miscalibration" (KL to the history, nats), and
            "ndcg_by_decile" (of the targets in each tenth of the items by popularity,
            as ten metrics): docs/method.md has them all.
        batch_size: Int, users scored at a time.
        train: What the model was trained on, for what goes by popularity.
        features: Optional features of the items, by which lists are diverse; else they
            are by the model's item vectors.
        label: The name of a feature of labels, for "miscalibration".
        rerank: Optional, how lists are chosen anew before they are measured.

    Returns:
        A `RankingReport`.

    Raises:
        ValueError: An unknown metric, k < 1, other items than the model's, or no user
            with a target, or targets that are the input, or a metric without what it
            goes by.

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
    num_targets, users = _check(model, fold_in)
    clicks = getattr(train, "matrix", train)
    catalogue = catalogue_of(model, clicks, features, label)
    tallies = {name: Tally(kind, k, catalogue) for name, (kind, k) in parsed.items()}
    deepest = max(k for _, k in parsed.values())
    rank = partial(rank_anew, features=features, reranking=rerank)
    inputs, targets = fold_in.input.matrix, fold_in.targets.matrix
    for batch, top in rank(model, inputs, deepest, rows=users, batch_size=batch_size):
        wanted = targets[batch]
        hits, history = hits_of(top, wanted), select_rows(inputs, batch)
        for tally in tallies.values():
            tally.add(top, hits, wanted, history)
    values: dict[str, np.ndarray] = {}
    of_all = {}
    for name, tally in tallies.items():
        if tally.kind in OF_ALL:
            of_all[name] = tally.of_all()
        else:
            values.update(tally.per_user(name))
    return RankingReport(
        values,
        of_all,
        fold_in.input.users.ids[users],
        left_out=len(num_targets) - len(users),
    )


def _check(model: Ranks, fold_in: FoldIn) -> tuple[np.ndarray, np.ndarray]:
    """The number of each user's targets, and the users that have any.

    Raises:
        ValueError: See `evaluate_ranking`.
    """
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
    return num_targets, users


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
    hits = hits_of(top, targets)[users, :k]
    return accuracy.PER_USER[kind](hits, np.diff(targets.indptr)[users], k)


def _parse(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\w+)@(\d+)", name)
    if match is None or match[1] not in METRICS or int(match[2]) < 1:
        raise ValueError(
            f"A metric is one of {', '.join(METRICS)}, followed by @k with k >= 1, as "
            f"in recall@20. Received: {name!r}."
        )
    return match[1], int(match[2])
