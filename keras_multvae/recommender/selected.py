"""Selecting the items that may be recommended, and joining rankings of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.abilities import Ranks
from keras_multvae.data import Vocabulary
from keras_multvae.features import ItemFeatures
from keras_multvae.progress import counting
from keras_multvae.ranking import TopK
from keras_multvae.recommender.histories import OnUnknown, listed
from keras_multvae.reranking import Reranking, rank_anew
from keras_multvae.typing import Id

Rankings = Iterator[tuple[np.ndarray, TopK]]


def allowed_items(
    items: Vocabulary,
    allow: Iterable[Id] | None,
    deny: Iterable[Id] | None,
    on_unknown: OnUnknown,
) -> np.ndarray | None:
    """The indices of the items that may be recommended, ascending; None for all.

    Raises:
        ValueError: No item may be recommended.
    """
    if allow is None and deny is None:
        return None
    may = np.full(len(items), allow is None)
    if allow is not None:
        may[items.index(listed(allow, "allow"), on_unknown=on_unknown)] = True
    if deny is not None:
        may[items.index(listed(deny, "deny"), on_unknown=on_unknown)] = False
    allowed = np.flatnonzero(may)
    if len(allowed) == 0:
        raise ValueError("`allow` and `deny` leave no item to recommend.")
    return allowed


def offsets_of(model: Ranks, niche: object) -> np.ndarray | None:
    """What `niche` subtracts from each item's scores, float32 (items,); None for 0.

    Raises:
        ValueError: `niche` is no number from 0 to 1, or all items are equally popular
            to the model.
    """
    niche = checks.share("niche", niche)
    if niche == 0:
        return None
    nothing = sparse.csr_matrix((1, model.num_items), dtype="float32")
    popular = np.asarray(model.score(nothing)[0], "float32")
    if (popular == popular[0]).all():
        raise ValueError(
            "`niche` compares with the scores for a user of whom nothing is known, "
            f"which {type(model).__name__} has the same for all items. Leave it out."
        )
    return np.float32(niche) * popular


def rankings_of(
    model: Ranks,
    items: Vocabulary,
    matrix: sparse.csr_matrix,
    rows: np.ndarray,
    *,
    k: int = 10,
    niche: float = 0.0,
    exclude_seen: bool = True,
    allow: Iterable[Id] | None = None,
    deny: Iterable[Id] | None = None,
    on_unknown: OnUnknown = "raise",
    batch_size: int | None = None,
    progress: bool = False,
    rerank: Reranking | None = None,
    features: ItemFeatures | None = None,
) -> Rankings:
    """The best items for rows of a matrix, by batches; see `Recommender.recommend`."""
    k = checks.integer("k", k)
    if batch_size is not None:
        batch_size = checks.integer("batch_size", batch_size)
    rankings = rank_anew(
        model,
        matrix,
        k,
        reranking=rerank,
        features=features,
        rows=rows,
        exclude_seen=exclude_seen,
        allowed=allowed_items(items, allow, deny, on_unknown),
        offsets=offsets_of(model, niche),
        batch_size=batch_size,
    )
    return _counted(rankings, len(rows)) if progress else rankings


def collected(rankings: Rankings, num_users: int, k: int) -> TopK:
    """The rankings of all batches as one, with `k` columns."""
    top = TopK(
        np.zeros((num_users, k), "int32"),
        np.full((num_users, k), -np.inf, "float32"),
        np.zeros(num_users, "int64"),
    )
    stop = 0
    for batch, part in rankings:
        start, stop = stop, stop + len(batch)
        width = part.indices.shape[1]  # fewer than k if few items are allowed
        top.indices[start:stop, :width] = part.indices
        top.scores[start:stop, :width] = part.scores
        top.valid[start:stop] = part.valid
    return top


def _counted(rankings: Rankings, num_users: int) -> Rankings:
    """Yields the same rankings, and shows progress on standard error."""
    with counting("recommending", num_users) as advance:
        for users, top in rankings:
            yield users, top
            advance(len(users))
