"""Seconds and memory of `SparseEASE` on a large catalogue.

    python -m benchmarks.speed.sparse_linear --items 200000

Made-up clicks: how popular items are falls as a power of their rank, and each user
clicks among the items of a few neighbourhoods of the catalogue half of the time. Prints
the memory that the clicks take, the peak of fitting and of ranking 1,000 users, and how
long both took. Ten minutes or more at 200,000 items.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from scipy import sparse

from keras_multvae import SparseEASE
from keras_multvae.ranking import rank

NEIGHBOURHOOD = 200


def make_clicks(users: int, items: int, clicks: int, seed: int) -> sparse.csr_matrix:
    """CSR (users, items) float32 of ones."""
    rng = np.random.default_rng(seed)
    popularity = np.cumsum(1 / (20 + np.arange(items)) ** 0.9)
    popularity /= popularity[-1]
    # An item's neighbourhood has nothing to do with how popular it is.
    order = rng.permutation(items)
    parts = []
    for start in range(0, users, 50_000):
        size = min(50_000, users - start)
        anywhere = np.searchsorted(popularity, rng.random((size, clicks - clicks // 2)))
        homes = rng.integers(max(items - NEIGHBOURHOOD, 1), size=(size, 3))
        home = np.take_along_axis(homes, rng.integers(3, size=(size, clicks // 2)), 1)
        near = home + rng.integers(min(NEIGHBOURHOOD, items), size=home.shape)
        columns = order[np.concatenate([anywhere, near], axis=1)]
        rows = np.repeat(np.arange(size), clicks)
        pairs = (np.ones(columns.size, "float32"), (rows, columns.ravel()))
        part = sparse.csr_matrix(pairs, shape=(size, items))
        part.data[:] = 1
        parts.append(part)
    return sparse.csr_matrix(sparse.vstack(parts, format="csr"))


def peak() -> float:
    """GiB that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=400_000)
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--neighbours", type=int, default=200)
    given = parser.parse_args()
    matrix = make_clicks(given.users, given.items, given.clicks, seed=0)
    size = sum(each.nbytes for each in (matrix.data, matrix.indices, matrix.indptr))
    print(
        f"{matrix.shape[0]:,} users, {matrix.shape[1]:,} items, {matrix.nnz:,} clicks"
    )
    print(f"clicks: {size / 2**30:.2f} GiB; making them took {peak():.2f} GiB")
    start = time.perf_counter()
    model = SparseEASE(given.items, neighbours=given.neighbours).fit(matrix)
    print(f"fitted in {time.perf_counter() - start:.0f} s; peak {peak():.2f} GiB")
    start = time.perf_counter()
    for _ in rank(model, matrix[:1000], 100):
        pass
    seconds = time.perf_counter() - start
    print(f"ranked 1,000 users in {seconds:.1f} s; peak {peak():.2f} GiB")


if __name__ == "__main__":
    main()
