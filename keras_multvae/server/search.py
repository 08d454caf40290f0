"""An index of titles by the beginnings of their words.

It consists of sorted arrays: a million titles take some hundred megabytes less than
texts, and a query takes some milliseconds.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

ASCII_WORD = re.compile("[a-z0-9]+")
# Sorts after every character, for the end of a range of words.
LAST = "\U0010ffff"
# Shorter words are near to too many others.
LEAST_LETTERS = 3
# Letters that are tried in a place; Chinese titles begin with thousands.
MAX_LETTERS = 100


class TitleIndex:
    """Finds titles by beginnings of their words.

    Args:
        titles: The titles, in the order in which searches return them.

    Example:

    >>> index = TitleIndex(["Aliens (1986)", "Amélie (2001)", "Alien (1979)"])
    >>> index.search("alien", 5).tolist()
    [0, 2]
    >>> index.search("2001 ame", 5).tolist()
    [1]
    >>> index.search("alein", 5).tolist()
    [0, 2]
    """

    def __init__(self, titles: Iterable[str]) -> None:
        numbers: dict[str, int] = {}
        words: list[int] = []
        sizes: list[int] = []
        hashes: list[int] = []
        for title in titles:
            text = folded(title)
            found = dict.fromkeys(text.split())
            words.extend(numbers.setdefault(word, len(numbers)) for word in found)
            sizes.append(len(found))
            hashes.append(hash(text))
        self._size = len(sizes)
        self._words = sorted(numbers)
        # Words in alphabetical order, and the titles of each in order.
        places = np.empty(len(numbers), "int32")
        places[[numbers[word] for word in self._words]] = np.arange(len(numbers))
        coded = places[np.array(words, "int64")] if words else np.empty(0, "int32")
        owners = np.repeat(np.arange(self._size, dtype="int32"), sizes)
        self._titles = owners[np.argsort(coded, kind="stable")]
        self._starts = np.zeros(len(numbers) + 1, "int64")
        np.cumsum(np.bincount(coded, minlength=len(numbers)), out=self._starts[1:])
        given = np.array(hashes, "int64")
        self._by_hash = np.argsort(given, kind="stable").astype("int32")
        self._hashes = given[self._by_hash]

    def search(self, query: str, limit: int) -> np.ndarray:
        """The titles with words that begin with each word of the query, in order.

        An exact match comes first. If no title fits, one typing error in each word of
        three letters or more, and no digits, is forgiven: a letter too many, too few or
        wrong, or two
        that changed places.

        Args:
            query: Words or beginnings of words, in any order; "" matches all titles.
            limit: Int, maximum number of titles.
        """
        text = folded(query)
        words = _longest(text.split())
        fits = self._fitting(words, self._run)
        if not fits.any():
            fits = self._fitting(words, self._near)
        first = self._same(text)
        first = first[fits[first]]
        fits[first] = False
        return np.concatenate([first, np.flatnonzero(fits)[:limit]])[:limit]

    def _fitting(
        self, words: Iterable[str], titles_of: Callable[[str], np.ndarray]
    ) -> np.ndarray:
        """Which titles `titles_of` gives for every word: (titles,) bool."""
        fits = np.ones(self._size, bool)
        for run in sorted(map(titles_of, words), key=len):
            here = np.zeros(self._size, bool)
            here[run] = True
            fits &= here
            if not fits.any():
                break
        return fits

    def _run(self, word: str) -> np.ndarray:
        """The titles with a word with this beginning."""
        low, high = self._range(word)
        return self._titles[self._starts[low] : self._starts[high]]

    def _near(self, word: str) -> np.ndarray:
        """As `_run`, also for beginnings that differ by one typing error."""
        if len(word) < LEAST_LETTERS or not word.isalpha():
            return self._run(word)
        return np.concatenate([self._run(each) for each in {word, *self._edits(word)}])

    def _edits(self, word: str) -> Iterator[str]:
        """The word with one error mended; only letters that some word has there."""
        for place in range(len(word)):
            start, rest = word[:place], word[place:]
            low, high = self._range(start)
            if low == high:
                return  # No word begins so.
            yield start + rest[1:]
            yield start + rest[1:2] + rest[0] + rest[2:]
            for letter in islice(self._letters_after(start, low, high), MAX_LETTERS):
                yield start + letter + rest
                yield start + letter + rest[1:]

    def _letters_after(self, start: str, low: int, high: int) -> Iterator[str]:
        """The letters that follow a beginning, which the words low to high have."""
        place = len(start)
        while low < high:
            word = self._words[low]
            if len(word) > place:
                yield word[place]
                low = bisect_left(self._words, word[: place + 1] + LAST, low, high)
            else:
                low += 1

    def _range(self, start: str) -> tuple[int, int]:
        """The words with this beginning, from and to."""
        low = bisect_left(self._words, start)
        return low, bisect_left(self._words, start + LAST, low)

    def _same(self, text: str) -> np.ndarray:
        """The titles equal to this text."""
        low, high = np.searchsorted(self._hashes, [hash(text), hash(text) + 1])
        return self._by_hash[low:high]


def folded(text: str) -> str:
    """Lower case without accents, with a space before each word.

    Example:

    >>> folded("WALL·E (Pixar), Amélie")
    ' wall e pixar amelie'
    """
    if text.isascii():
        words = ASCII_WORD.findall(text.lower())
    else:
        plain = "".join(
            letter
            for letter in unicodedata.normalize("NFKD", text)
            if not unicodedata.combining(letter)
        ).casefold()
        words = "".join(letter if letter.isalnum() else " " for letter in plain).split()
    return " " + " ".join(words) if words else ""


def _longest(words: Iterable[str]) -> list[str]:
    """The words without those that are beginnings of others."""
    kept: list[str] = []
    for word in sorted(words, reverse=True):
        if not kept or not kept[-1].startswith(word):
            kept.append(word)
    return kept
