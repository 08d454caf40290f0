"""EASE for catalogues whose matrix does not fit: weights of neighbours only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.baselines.base import stored
from keras_multvae.baselines.linear import LinearModel
from keras_multvae.data.columns.csr import rows_of

# The numbers of items in a block of equations, and of entries in one of products.
BLOCK, ENTRIES = 256, 1 << 24
# The number of entries G_ij that are kept for each item, and of all items.
PAIRS, ALL_PAIRS = 2000, 100_000_000


class SparseEASE(LinearModel):
    """EASE with `neighbours` weights for each item: scores are `x B`, B sparse.

    Column j of B minimises the objective of EASE with the weights of all items but the
    neighbours N of j held at 0, which is a linear system for each item:

        A_NN B_Nj = G_Nj,  A = G + l2 I + p / (1 - p) diag(G).

    N are the items with the largest `G_ij / (A_ii A_jj)^(1/2)`, of those that some user
    clicked along with j. Where these are all items, it is `EASE` itself. Of G only the
    2,000 closest items of each item are kept (fewer beyond 50,000 items, but no fewer
    than `neighbours`), and other entries count as 0, so that memory does not grow with
    the square of the items.

    Args:
        num_items: Int, size of the catalogue.
        l2: See `EASE`.
        dropout: See `EASE`.
        user_weight: See `EASE`.
        neighbours: Int >= 1, the number of weights of an item.

    Example:

    >>> clicks = sparse.csr_matrix([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    >>> model = SparseEASE(3, l2=1.0, neighbours=1).fit(clicks)
    >>> scores = model.score(sparse.csr_matrix([[1, 0, 0]]))
    >>> int(scores.argmax()), round(float(scores.max()), 3)
    (1, 0.667)

    References:
        - [Steck, 2019](https://arxiv.org/abs/1910.09645), where the equations of
          neighbouring items are solved together
    """

    weights: sparse.csr_matrix | None

    def __init__(
        self,
        num_items: int,
        l2: float = 500.0,
        dropout: float = 0.0,
        user_weight: float = 0.0,
        neighbours: int = 200,
    ) -> None:
        super().__init__(num_items, l2, dropout, user_weight)
        self.neighbours = checks.integer("neighbours", neighbours)

    def _products(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        """The weighted clicks, as the kept products depend on all settings."""
        return matrix

    def _solve(self, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        squares = np.asarray(matrix.multiply(matrix).sum(axis=0), "float64").ravel()
        diagonal = (squares / (1 - self.dropout) + self.l2).astype("float32")
        gram, near = self._gram(matrix, diagonal)
        columns, rows, values = [], [], []
        for start in range(0, self.num_items, BLOCK):
            items = np.arange(start, min(start + BLOCK, self.num_items))
            sizes = (near[items] >= 0).sum(axis=1)
            # Rare items may have few neighbours: no larger systems than needed.
            own = near[items, : sizes.max()]
            found, known = _solutions(gram, diagonal, own, items), own >= 0
            columns.append(np.repeat(items, sizes))
            rows.append(own[known])
            values.append(found[known])
        entries = map(np.concatenate, (values, rows, columns))
        data, row, column = entries
        shape = (self.num_items, self.num_items)
        return sparse.csr_matrix((data, (row, column)), shape=shape)

    def _gram(
        self, matrix: sparse.csr_matrix, diagonal: np.ndarray
    ) -> tuple[sparse.csr_matrix, np.ndarray]:
        """The largest entries of G without its diagonal, and each item's neighbours.

        The latter (num_items, neighbours), ascending, -1 where there are fewer.
        """
        width = min(self.neighbours, self.num_items - 1)
        pairs = max(min(PAIRS, ALL_PAIRS // self.num_items), width)
        near = np.full((self.num_items, width), -1, "int32")
        blocks = []
        for start, products in _products(matrix):
            scales = 1 / np.sqrt(diagonal)
            closeness = products.data * scales[products.indices]
            found = largest_entries(products, closeness, pairs)
            blocks.append(found)
            # The neighbours are among these.
            kept = largest_entries(found, found.data * scales[found.indices], width)
            lengths = np.diff(kept.indptr)
            places = np.arange(width) < lengths[:, None]
            near[start : start + len(lengths)][places] = kept.indices
        return sparse.vstack(blocks, format="csr"), near

    def _largest(self, weights: sparse.csr_matrix, kept: int) -> sparse.csr_matrix:
        cut = weights.copy()
        sizes = np.abs(weights.data)
        if kept < len(sizes):
            cut.data[sizes < np.partition(sizes, -kept)[-kept]] = 0
            cut.eliminate_zeros()
        return cut

    def _arrays(self) -> dict[str, Any]:
        weights = self._fitted(self.weights)
        return {
            "data": weights.data,
            "indices": weights.indices,
            "indptr": weights.indptr,
            **self._settings(),
            "neighbours": self.neighbours,
        }

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SparseEASE:
        num_items = len(arrays["indptr"]) - 1
        neighbours = int(arrays["neighbours"])
        model = cls(num_items, **cls._settings_of(arrays), neighbours=neighbours)
        parts = tuple(
            stored(arrays, name, (None,)) for name in ("data", "indices", "indptr")
        )
        model.weights = sparse.csr_matrix(parts, shape=(num_items, num_items))
        # SciPy checks no index, and reads foreign memory for bad ones.
        model.weights.check_format(full_check=True)
        return model


def _products(matrix: sparse.csr_matrix) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """X^T X without its diagonal, by blocks of rows, each with its first item."""
    transposed = matrix.T.tocsr()
    size = max(min(BLOCK, ENTRIES // matrix.shape[1]), 1)
    for start in range(0, matrix.shape[1], size):
        products = (transposed[start : start + size] @ matrix).tocsr()
        owners = rows_of(products.indptr)
        products.data[products.indices == owners + start] = 0
        products.eliminate_zeros()
        yield start, products


def largest_entries(
    rows: sparse.csr_matrix, closeness: np.ndarray, width: int
) -> sparse.csr_matrix:
    """The entries of each row with the largest `closeness`, at most `width` of them."""
    lengths = np.diff(rows.indptr)
    # Sorting long rows would take most of the time: first what cannot be among the
    # largest is left out.
    hopeful = np.ones(rows.nnz, bool)
    for row in np.flatnonzero(lengths > 2 * width):
        own = slice(rows.indptr[row], rows.indptr[row + 1])
        place = lengths[row] - width
        hopeful[own] = closeness[own] >= np.partition(closeness[own], place)[place]
    entries = np.flatnonzero(hopeful)
    owners = rows_of(rows.indptr)[entries]
    # Ties are broken by the item, so that the same data give the same model.
    order = np.lexsort((rows.indices[entries], -closeness[entries], owners))
    sizes = np.bincount(owners, minlength=len(lengths))
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = np.sort(entries[order[ranks < width]])
    owners = rows_of(rows.indptr)
    counts = np.bincount(owners[kept], minlength=len(lengths))
    indptr = np.concatenate([[0], np.cumsum(counts)])
    picked = (rows.data[kept], rows.indices[kept], indptr)
    found = sparse.csr_matrix(picked, shape=rows.shape)
    found.sort_indices()
    return found


def _solutions(
    gram: sparse.csr_matrix, diagonal: np.ndarray, near: np.ndarray, items: np.ndarray
) -> np.ndarray:
    """B_Nj of some items j, (items, neighbours); 0 where a neighbour is none."""
    count, width = near.shape
    equations = np.zeros((count, width, width), "float32")
    targets = np.zeros((count, width), "float32")
    place = np.full(len(diagonal), -1, "int32")
    for number, item in enumerate(items):
        known = near[number][near[number] >= 0]
        place[known] = np.arange(len(known))
        # Their rows of G, with the item's own row last.
        rows = gram[np.append(known, item)]
        columns = place[rows.indices]
        found = np.flatnonzero(columns >= 0)
        owners = np.searchsorted(rows.indptr, found, side="right") - 1
        system = np.zeros((len(known) + 1, width), "float32")
        system[owners, columns[found]] = rows.data[found]
        equations[number, : len(known)], targets[number] = system[:-1], system[-1]
        place[known] = -1
    # An entry that was kept for one item of a pair counts for both.
    equations = np.maximum(equations, equations.transpose(0, 2, 1))
    places = np.arange(width)
    equations[:, places, places] = np.where(near >= 0, diagonal[near], 1)
    return np.linalg.solve(equations, targets[:, :, None])[:, :, 0]
