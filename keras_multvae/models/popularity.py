"""The baseline that every recommender must beat."""

from __future__ import annotations

import os
from typing import Any
from zipfile import BadZipFile

import numpy as np
from scipy import sparse

from keras_multvae.files import DamagedFileError, replace_file


class Popularity:
    """Ranks items by how many training users clicked them, the same for everybody.

    Args:
        num_items: Int, size of the catalogue.

    Example:

    >>> clicks = sparse.csr_matrix([[1, 1, 0], [0, 1, 0]])
    >>> model = Popularity(3).fit(clicks)
    >>> model.score(clicks[:1]).argmax()
    np.int64(1)
    """

    def __init__(self, num_items: int) -> None:
        self.num_items = num_items
        self.counts = np.zeros(num_items, "int64")

    def fit(self, interactions: Any) -> Popularity:
        """Counts users per item.

        Args:
            interactions: `Interactions` or a SciPy sparse matrix (users, items).

        Returns:
            The model itself.

        Raises:
            ValueError: Another number of items.
        """
        matrix = getattr(interactions, "matrix", interactions).tocsr()
        if matrix.shape[1] != self.num_items:
            raise ValueError(
                f"Popularity ranks {self.num_items} items. Received: a matrix with "
                f"{matrix.shape[1]}."
            )
        clicked = matrix.indices[matrix.data > 0]
        self.counts = np.bincount(clicked, minlength=self.num_items)
        return self

    def score(self, histories: sparse.csr_matrix, batch_size: int = 500) -> np.ndarray:
        """The log of each item's share of the clicks, one added to every count.

        Args:
            histories: CSR (users, num_items); only the number of users matters.
            batch_size: Not used; the baseline has no batches.

        Returns:
            float32 (users, num_items).
        """
        smoothed = self.counts + 1.0
        shares = np.log(smoothed / smoothed.sum()).astype("float32")
        return np.tile(shares, (histories.shape[0], 1))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the counts as one .npz file, atomically."""
        with replace_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, counts=self.counts)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Popularity:
        """Reads what `save` wrote.

        Raises:
            DamagedFileError: A missing, truncated or foreign file.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                counts = arrays["counts"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise DamagedFileError(
                f"{path} holds no Popularity model ({error})."
            ) from None
        model = cls(len(counts))
        model.counts = counts
        return model
