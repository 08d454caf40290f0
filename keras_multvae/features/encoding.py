"""Columns of a file of items, as features."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.features.feature import Feature
from keras_multvae.features.kinds import KINDS, SEPARATOR
from keras_multvae.typing import Column, Value

# Words of a text that count: the most frequent ones that several items have.
MAX_WORDS, FEWEST_ITEMS = 2000, 2
_WORD = re.compile(r"\w+")


def encoded(
    name: str,
    column: Column,
    kind: str | None = None,
    like: Feature | None = None,
    separator: str = SEPARATOR,
) -> Feature:
    """A column of values, one an item, as a feature.

    Args:
        name: What it is called.
        column: Text, lists of text, numbers; a matrix (items, width), sparse or dense,
            is a vector. A missing value is None, NaN or empty text.
        kind: One of `KINDS`; by default "number" where all values are numbers, also as
            text, and "labels" elsewhere.
        like: Optional, the feature of other items: labels and words that it does not
            have say nothing, and a missing number is its mean.
        separator: Between the labels of an item in text.

    Raises:
        ValueError: Another kind than there is or than that of `like`, text that is no
            number, vectors of another width.
    """
    if sparse.issparse(column) or (hasattr(column, "ndim") and column.ndim == 2):
        found = Feature(name, "vector", column)
        if like is not None and (like.kind, like.matrix.shape[1]) != (
            "vector",
            found.matrix.shape[1],
        ):
            raise ValueError(
                f"The feature {name!r} must be a {like.kind} of width "
                f"{like.matrix.shape[1]}. Received: a vector of width "
                f"{found.matrix.shape[1]}."
            )
        return found
    values = [None if _is_missing(value) else value for value in column]
    if like is not None:
        kind = like.kind
    elif kind is None:
        kind = "number" if _all_numbers(values) else "labels"
    checks.choice("kind", kind, KINDS if like is None else (*KINDS, "vector"))
    if kind == "vector":
        width = 0 if like is None else like.matrix.shape[1]
        return Feature(name, kind, _vectors(name, values, width))
    if kind == "number":
        mean = None if like is None else float(like.matrix.mean())
        return Feature(name, kind, _numbers(name, values, mean))
    split = _words if kind == "words" else _labels
    parts = [list(dict.fromkeys(split(value, separator))) for value in values]
    known = _known(parts, kind) if like is None else like.values
    assert known is not None
    return Feature(name, kind, _one_hot(parts, known), tuple(known))


def _known(parts: Iterable[Sequence[str]], kind: str) -> list[str]:
    """The labels or words that count, in order."""
    counts = Counter(part for of_item in parts for part in of_item)
    if kind == "labels":
        return sorted(counts)
    frequent = [word for word, count in counts.items() if count >= FEWEST_ITEMS]
    return sorted(sorted(frequent, key=lambda word: (-counts[word], word))[:MAX_WORDS])


def _one_hot(parts: Sequence[Sequence[str]], known: Sequence[str]) -> sparse.csr_matrix:
    place = {value: column for column, value in enumerate(known)}
    columns = [[place[part] for part in each if part in place] for each in parts]
    indptr = np.cumsum([0, *map(len, columns)])
    indices = np.array([column for each in columns for column in each], "int32")
    shape = (len(parts), len(known))
    matrix = sparse.csr_matrix((np.ones(len(indices)), indices, indptr), shape=shape)
    matrix.sort_indices()
    return matrix


def _labels(value: Value, separator: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        parts: Iterable[Value] = value.split(separator)
    elif isinstance(value, Iterable):
        parts = (part for part in value if not _is_missing(part))
    else:
        parts = [value]
    return [text for part in parts if (text := str(part).strip())]


def _words(value: Value, separator: str) -> list[str]:
    text = " ".join(_labels(value, separator))
    return _WORD.findall(text.lower())


def _numbers(name: str, values: Sequence[Value], mean: float | None) -> np.ndarray:
    """(items, 1); what is missing is the mean of the others."""
    numbers = np.array([math.nan if v is None else _number(v) for v in values], "float")
    gaps = np.array([value is None for value in values], bool)
    if not np.isfinite(numbers[~gaps]).all():
        wrong = next(
            v for v, n in zip(values, numbers, strict=True)
            if v is not None and not math.isfinite(n)
        )  # fmt: skip
        raise ValueError(
            f"The feature {name!r} must be finite numbers. Received: {wrong!r}. Read "
            f"it as labels: {name}:labels."
        )
    if mean is None:
        mean = float(numbers[~gaps].mean()) if (~gaps).any() else 0.0
    numbers[gaps] = mean
    return numbers[:, None].astype("float32")


def _vectors(name: str, values: Sequence[Value], width: int) -> np.ndarray:
    """Vectors that come as lists, all of one width."""
    try:
        found = np.array([np.asarray(value, "float32") for value in values])
    except (ValueError, TypeError):
        found = np.zeros(0)
    if found.shape != (len(values), width):
        raise ValueError(
            f"The feature {name!r} must be a vector of {width} numbers for each item. "
            f"Received: {values[0] if values else 'no item'!r}."
        )
    return found


def _number(value: Value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _all_numbers(values: Sequence[Value]) -> bool:
    """Whether there are values, and each is a finite number."""
    there = [value for value in values if value is not None]
    return bool(there) and all(math.isfinite(_number(value)) for value in there)


def _is_missing(value: Value) -> bool:
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))
