"""Cornac's VAECF, trained by its own `fit`; runs in Cornac's environment."""

from __future__ import annotations

import numpy as np
from cornac.data import Dataset
from cornac.models import VAECF
from scipy import sparse


class Cornac:
    """I-600-200-600-I; each `fit` goes on with the weights of the one before."""

    def __init__(self, clicks: str, batch_size: int) -> None:
        matrix = sparse.load_npz(clicks).tocoo()
        self.train = Dataset.from_uir(
            zip(
                matrix.row.tolist(),
                matrix.col.tolist(),
                np.ones(matrix.nnz).tolist(),
                strict=True,
            )
        )
        self.model = VAECF(
            k=200,
            autoencoder_structure=[600],
            n_epochs=1,
            batch_size=batch_size,
            beta=0.2,
            seed=0,
        )

    def epoch(self) -> None:
        self.model.fit(self.train)
