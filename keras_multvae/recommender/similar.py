"""Similar items by their output vectors."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from keras_multvae.abilities import HasItemVectors
from keras_multvae.ranking import TopK, top_k


def similar(model: HasItemVectors, indices: np.ndarray, k: int) -> TopK:
    """The `k` items nearest to each given item by cosine, without the item itself."""
    vectors = model.item_vectors
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(norms == 0, 1, norms)
    itself = sparse.csr_matrix(
        (np.ones(len(indices)), (np.arange(len(indices)), indices)),
        shape=(len(indices), len(vectors)),
    )
    return top_k(vectors[indices] @ vectors.T, k, excluded=itself)
