"""One feature of all items, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from keras_multvae.typing import Column

# (items, width) float32: an array, or CSR where most of it is 0.
Matrix: TypeAlias = Any


@dataclass(frozen=True, eq=False)
class Feature:
    """A feature of every item: a matrix with a row an item.

    Args:
        name: What it is called, as the column of the file that it came from.
        kind: "labels" or "words" (0 and 1, a column a value), "number" (one column) or
            "vector" (any columns, as a text embedding has).
        matrix: (items, width) float32, finite; CSR or dense.
        values: What the columns mean, for labels and words; else None.

    Raises:
        ValueError: Numbers that are not finite, or values that do not fit the columns.
    """

    name: str
    kind: str
    matrix: Matrix
    values: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        given = self.matrix
        matrix: Matrix
        if sparse.issparse(given):
            matrix = sparse.csr_matrix(given, dtype="float32")
            matrix.sum_duplicates()
            finite = np.isfinite(matrix.data).all()
        else:
            matrix = np.asarray(given, "float32")
            finite = matrix.ndim == 2 and np.isfinite(matrix).all()
        if not finite:
            raise ValueError(
                f"The feature {self.name!r} must be a matrix (items, width) of finite "
                f"numbers. Received: shape {np.shape(given)}, or NaN or infinity in it."
            )
        if self.values is not None and len(self.values) != matrix.shape[1]:
            raise ValueError(
                f"The feature {self.name!r} has {matrix.shape[1]} columns and "
                f"{len(self.values)} values: they must be as many."
            )
        object.__setattr__(self, "matrix", matrix)

    def __repr__(self) -> str:
        return f"Feature({self.name!r}, {self.kind}, {self.matrix.shape})"

    @property
    def num_items(self) -> int:
        """Rows of the matrix."""
        return int(self.matrix.shape[0])

    def column(self) -> Column:
        """The feature as `encoded` takes it: labels of each item, numbers, vectors."""
        if self.kind == "number":
            return self.matrix.ravel()
        if self.values is None:
            return self.matrix
        ends = self.matrix.indptr
        return [
            [self.values[column] for column in self.matrix.indices[start:stop]]
            for start, stop in pairwise(ends)
        ]

    def take(self, rows: np.ndarray) -> Feature:
        """The feature of the items `rows`, in that order; -1 for an unknown one.

        Of an unknown item there is no label and no word; its number and its vector are
        the mean of all.
        """
        known = np.maximum(rows, 0)
        if sparse.issparse(self.matrix):
            matrix = self.matrix[known]
            present = sparse.diags_array((rows >= 0).astype("float32"))
            taken = sparse.csr_matrix(present @ matrix)
            taken.eliminate_zeros()
        else:
            taken = self.matrix[known]
            taken[rows < 0] = self.matrix.mean(axis=0)
        return Feature(self.name, self.kind, taken, self.values)
