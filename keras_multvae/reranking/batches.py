"""Ranks for many users, and chooses their lists anew, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from keras_multvae.features import ItemFeatures
from keras_multvae.ranking import TopK, rank, select_rows
from keras_multvae.reranking.greedy import reranked
from keras_multvae.reranking.settings import Reranking, items_of
from keras_multvae.typing import Model, Options


def rank_anew(
    model: Model,
    histories: sparse.csr_matrix,
    k: int,
    *,
    reranking: Reranking | None,
    features: ItemFeatures | None,
    **options: Options,
) -> Iterator[tuple[np.ndarray, TopK]]:
    """As `rank`, with lists that a re-ranking chose, if there is one.

    Args:
        model: See `rank`, like what follows.
        histories: See there.
        k: See there.
        reranking: Optional, what lists are to be besides.
        features: Optional features of the items.
        **options: See `rank`.

    Raises:
        ValueError: What `reranking` goes by is not there.
    """
    if reranking is None or not reranking.changes:
        return rank(model, histories, k, **options)
    items = items_of(reranking, model, features)
    found = rank(model, histories, max(k, reranking.candidates), **options)
    return (
        (users, reranked(top, k, reranking, items, select_rows(histories, users)))
        for users, top in found
    )
