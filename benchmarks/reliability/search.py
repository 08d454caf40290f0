"""Searches through a million titles: the longest time of each kind of query."""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.reliability.tries import options

TITLES, WORDS = 1_000_000, 60_000
SHOWN = 30


def main() -> int:
    """Makes titles, searches them, and prints a table."""
    given = options(__doc__ or "", 20).parse_args()
    from keras_multvae.server.catalogue import Catalogue

    rng = np.random.default_rng(given.seed)
    letters = np.array(list("aeioubcdfghjklmnpqrst"))
    words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(WORDS)]
    # Some words are in many titles.
    places = (WORDS * rng.random((TITLES, 4)) ** 2).astype(int).tolist()
    years = rng.integers(1950, 2025, TITLES).tolist()
    titles = [
        f"{' '.join(words[place] for place in row)} ({year})"
        for row, year in zip(places, years, strict=True)
    ]
    start = time.perf_counter()
    catalogue = Catalogue("int", list(range(TITLES)), titles, rng.random(TITLES))
    built = time.perf_counter() - start
    queries = {
        "nothing": "",
        "a letter": "a",
        "two letters": "ab",
        "two times a letter": "a b",
        "each letter": " ".join(letters),
        "half a year": "19",
        "two halves of years": "1 2",
        "a title": titles[5],
        "a title, mistyped": " ".join(f"{word}z" for word in titles[5].split()[:4]),
        "each word of a title, mistyped at its start": " ".join(
            f"z{word}" for word in titles[5].split()[:4]
        ),
        "no title": "zzz",
        "no title, long": "zzzzzzzzzzzz",
    }
    print("| query | found | median, ms | longest, ms | most CPU time, ms |")
    print("| --- " * 5 + "|")
    for name, query in queries.items():
        seconds: list[tuple[float, float]] = []
        for _ in range(given.tries):
            start, used = time.perf_counter(), time.thread_time()
            found = catalogue.search(query, SHOWN)
            seconds.append((time.perf_counter() - start, time.thread_time() - used))
        wall, cpu = np.array(seconds).T * 1000
        row = [name, len(found), f"{np.median(wall):.1f}", f"{wall.max():.1f}"]
        print("|", " | ".join(map(str, [*row, f"{cpu.max():.1f}"])), "|")
    print(f"\nThe index took {built:.0f} s to make.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
