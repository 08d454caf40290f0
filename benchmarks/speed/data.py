"""What is worked on: seeded matrices of ML-20M's shape, and Gowalla."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.speed.processes import say

# ML-20M after the paper's preprocessing: items of the training vocabulary, and about
# as many items a user as all users have.
NUM_ITEMS, ITEMS_PER_USER = 20_108, 68
# The raw files of ML-20M.
RATINGS, RATERS, RATED = 20_000_263, 138_493, 26_744
# A user's clicks in ML-20M spread by about this much, on the logarithmic scale.
ACTIVITY_SIGMA = 1.1
# Zipf-Mandelbrot: without an offset the first item would be in nearly every history;
# so it is in about a third of them, as in ML-20M.
POPULARITY_OFFSET = 30
GOWALLA_SHAPE = (29_858, 40_981)


def synthetic(
    users: int = 20_000,
    items: int = NUM_ITEMS,
    mean: float = ITEMS_PER_USER,
    seed: int = 0,
) -> sparse.csr_matrix:
    """Clicks (users, items) float32: Zipf popularity, log-normal activity.

    As in a training vocabulary, every item has a click.
    """
    rng = np.random.default_rng(seed)
    sizes = activity(rng, users, mean, least=5, most=items // 4)
    ids = distinct_items(rng, sizes, popularity(rng, items))
    rows = np.repeat(np.arange(users), sizes)
    unseen = np.setdiff1d(np.arange(items), ids)
    rows = np.append(rows, rng.integers(users, size=len(unseen)))
    ids = np.append(ids, unseen)
    clicks = sparse.csr_matrix(
        (np.ones(len(ids), "float32"), (rows, ids)), (users, items)
    )
    clicks.sort_indices()
    return clicks


def activity(
    rng: np.random.Generator, users: int, mean: float, least: int, most: int
) -> np.ndarray:
    """Items of each user (users,) int64, log-normal between two limits."""
    sizes = rng.lognormal(0, ACTIVITY_SIGMA, users)
    for _ in range(8):  # What the limits take and give is made up for.
        sizes = np.clip(sizes * (mean / sizes.mean()), least, most)
    return np.round(sizes).astype("int64")


def popularity(rng: np.random.Generator, items: int) -> np.ndarray:
    """Probability of each item (items,), its ranks in random order of the ids."""
    share = 1 / (np.arange(items) + POPULARITY_OFFSET)
    return rng.permutation(share / share.sum())


def distinct_items(
    rng: np.random.Generator, sizes: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Items drawn without replacement by their share, user after user, sorted.

    Drawn with replacement and repeats discarded, which comes to the same.
    """
    items = len(share)
    cumulative = np.cumsum(share)
    cumulative[-1] = 1
    done, open_users = [], np.arange(len(sizes))
    drawn = np.zeros(0, "int64")
    while len(open_users):
        have = np.bincount(
            np.searchsorted(open_users, drawn // items), minlength=len(open_users)
        )
        more = np.maximum((sizes[open_users] - have) * 3 // 2, 8)
        rows = np.repeat(open_users, more)
        fresh = rows * items + np.searchsorted(cumulative, rng.random(len(rows)))
        drawn = np.concatenate([drawn, fresh])
        # The first of equal keys, in the order of drawing; then by user.
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
        drawn = drawn[np.argsort(drawn // items, kind="stable")]
        place = np.searchsorted(open_users, drawn // items)
        begins = np.searchsorted(place, np.arange(len(open_users)))
        wanted = np.arange(len(drawn)) - begins[place] < sizes[open_users][place]
        drawn, place = drawn[wanted], place[wanted]
        full = np.bincount(place, minlength=len(open_users)) == sizes[open_users]
        done.append(drawn[full[place]])
        drawn, open_users = drawn[~full[place]], open_users[~full]
    return np.sort(np.concatenate(done)) % items


def gowalla(path: Path) -> sparse.csr_matrix:
    """Training clicks of the public split, from an npz file with an array `train`."""
    with np.load(path) as arrays:
        pairs = arrays["train"]
    clicks = sparse.csr_matrix(
        (np.ones(pairs.shape[1], "float32"), tuple(pairs)), shape=GOWALLA_SHAPE
    )
    clicks.sort_indices()
    return clicks


def ratings(rows: int = RATINGS, seed: int = 0) -> dict[str, np.ndarray]:
    """Columns of a ratings file like ML-20M's, by user and item; half are 4 or more."""
    users = max(round(rows * RATERS / RATINGS), 2)
    rng = np.random.default_rng(seed)
    sizes = activity(rng, users, rows / users, least=20, most=RATED // 3)
    ids = distinct_items(rng, sizes, popularity(rng, RATED))
    stars = rng.choice(np.arange(1, 11) / 2, len(ids), p=STARS)
    return {
        "userId": np.repeat(np.arange(1, users + 1), sizes),
        "movieId": ids + 1,
        "rating": stars,
        "timestamp": rng.integers(789_652_009, 1_427_784_002, len(ids)),
    }


def event_log(part: int, rows: int, parts: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Columns of one of `parts` files, by time: all users are in each, and come again.

    Args:
        part: Int from 0, which of the files; they do not depend on each other.
        rows: Int, events of all files.
        parts: Int, the number of files.
        seed: Int, of all files.
    """
    users = max(round(rows * RATERS / RATINGS), 2)
    rng = np.random.default_rng(seed)
    sizes = activity(rng, users, rows / users, least=20, most=RATED // 3)
    share = popularity(rng, RATED)
    rng = np.random.default_rng([seed, part])
    first, last = (rows * number // parts for number in (part, part + 1))
    begin, end = 789_652_009, 1_427_784_002
    times = rng.random(last - first) + part
    return {
        "userId": drawn(rng, sizes, last - first) + 1,
        "movieId": drawn(rng, share, last - first) + 1,
        "rating": rng.choice(np.arange(1, 11) / 2, last - first, p=STARS),
        "timestamp": begin + (np.sort(times) / parts * (end - begin)).astype("int64"),
    }


def drawn(rng: np.random.Generator, weights: np.ndarray, size: int) -> np.ndarray:
    """Indices (size,) int64, drawn with replacement in proportion to the weights."""
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1
    return np.searchsorted(cumulative, rng.random(size), side="right")


# Shares of half a star to five stars in ML-20M.
STARS = np.array([1.2, 3.4, 1.4, 7.2, 4.4, 21.4, 11.0, 27.8, 7.7, 14.5]) / 100


def cached(path: Path, make: Callable[[Path], None]) -> Path:
    """The file, made beside its place if it is not there yet."""
    if not path.exists():
        say(f"making {path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"making-{os.getpid()}-{path.name}")
        make(temporary)
        temporary.rename(path)
    return path
