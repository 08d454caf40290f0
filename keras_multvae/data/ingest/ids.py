"""Deciding the type of raw ids once all of them are known; private."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_multvae import checks
from keras_multvae.data.vocabulary import Vocabulary, as_ids, is_int_text

ID_TYPES = ("auto", "str", "int")
Convert = Callable[[Any], np.ndarray]

_INT = re.compile(r"-?[0-9]+")
_FLOAT = re.compile(
    r"[-+]?([0-9]*\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|[0-9]+\.|inf)"
)


def converter(
    id_type: str, text: bool = False, vocabulary: Vocabulary | None = None
) -> Convert:
    """Returns a function from the unique ids of a source to raw ids.

    Args:
        id_type: "auto", "str" or "int".
        text: Whether the source holds text only, as CSV files do. Its ids are then ints
            if every id equals the text of its int.
        vocabulary: Optional, a vocabulary whose kind text ids are converted to.

    Raises:
        ValueError: An unknown type.
    """
    checks.choice("id_type", id_type, ID_TYPES)
    if id_type == "str":
        return _as_text
    if id_type == "int":
        return _as_ints
    if vocabulary is not None:
        return _as_text_alone if vocabulary.kind == "str" else _as_ints_if_all
    return _as_read if text else as_ids


def _as_text(ids: object) -> np.ndarray:
    return as_ids([str(each) for each in as_ids(ids).tolist()])


def _as_text_alone(ids: object) -> np.ndarray:
    """Text stays text, and ids that are no text are converted to it."""
    return as_ids(ids)


def _as_ints(ids: object) -> np.ndarray:
    array = as_ids(ids)
    if array.dtype.kind == "i":
        return array
    bad = next((each for each in array if not is_int_text(each)), None)
    if bad is not None:
        raise ValueError(
            "`id_type`='int' needs ids that are whole numbers as they are written. "
            f"Received: {bad!r}. Keep the ids as text: id_type='str', --id-type str."
        )
    return as_ids(list(map(int, array)))


def _as_ints_if_all(ids: object) -> np.ndarray:
    array = as_ids(ids)
    if array.dtype.kind == "i" or not all(map(is_int_text, array)):
        return array
    return as_ids(list(map(int, array)))


def _as_read(ids: object) -> np.ndarray:
    """Ints if that changes no id; refuses decimal numbers, which come from floats."""
    array = as_ids(ids)
    if array.dtype.kind == "i":
        return array
    decimal = next(filter(_FLOAT.fullmatch, array), None)
    if decimal is not None and all(
        _INT.fullmatch(text) or _FLOAT.fullmatch(text) for text in array
    ):
        raise TypeError(
            f"Ids must be whole numbers or text. Received {decimal!r}, as ints become "
            "where some are missing. Write them as ints, or keep them as they are: "
            "id_type='str', --id-type str."
        )
    return _as_ints_if_all(array)
