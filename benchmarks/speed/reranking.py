"""What choosing a page anew costs, beside scoring the users it is for.

    KERAS_BACKEND=torch python -m benchmarks.speed.reranking

10,000 users, the paper's I-600-200-600-I on as many items as ML-20M has, 100 candidates
a user. Scoring is what `recommend` does for the best 100; each re-ranking is timed
apart from it, on the same candidates, for a page of 20 and for all 100 places. Items
have one to four of 20 labels, and are compared by these. Medians of three. Half a
minute on one core.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from keras_multvae import MultVAE, Reranking
from keras_multvae.features import ItemFeatures
from keras_multvae.ranking import TopK, rank
from keras_multvae.reranking import reranked
from keras_multvae.reranking.settings import items_of

USERS, ITEMS, CANDIDATES, LABELS, CLICKS = 10_000, 20_108, 100, 20, 70
PAGES = (20, 100)
RERANKINGS = {
    "maximal marginal relevance": Reranking(diversity=0.3),
    "at most 5 of a label": Reranking(at_most=5, by="labels"),
    "calibrated": Reranking(calibration=0.3, by="labels"),
}


def timed(function: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """Median seconds, and what it gave."""
    seconds, found = [], None
    for _ in range(times):
        start = time.perf_counter()
        found = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), found


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--items", type=int, default=ITEMS)
    options = parser.parse_args(given)
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(options.users), CLICKS)
    columns = rng.integers(options.items, size=len(rows))
    shape = (options.users, options.items)
    clicks = sparse.csr_matrix((np.ones(len(rows), "float32"), (rows, columns)), shape)
    clicks.data[:] = 1
    counts = rng.integers(1, 5, options.items)
    labels = [[f"l{n}" for n in rng.choice(LABELS, c, replace=False)] for c in counts]
    features = ItemFeatures.from_columns({"labels": labels})
    model = MultVAE(options.items, seed=0)

    def scored() -> TopK:
        parts = [top for _, top in rank(model, clicks, CANDIDATES)]
        return TopK(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    scored()  # compiles
    base, top = timed(scored)
    print(
        f"| {options.users:,} users, {options.items:,} items | seconds | of scoring |"
    )
    print("| --- | --- | --- |")
    print(f"| scoring, the best {CANDIDATES} | {base:.2f} | |")
    for name, reranking in RERANKINGS.items():
        for page in PAGES:
            items = items_of(reranking, model, features)
            seconds, _ = timed(
                lambda r=reranking, i=items, k=page: reranked(top, k, r, i, clicks)
            )
            share = seconds / base
            print(
                f"| {name}, {page} places | {seconds:.2f} | {share:.0%} |", flush=True
            )


if __name__ == "__main__":
    main()
