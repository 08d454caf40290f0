"""Checks of a server's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from keras_multvae.serving.client.errors import ServingError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

# The required outputs of each signature, and their number of axes.
RANKED = {"item_ids": 2, "scores": 2, "valid": 1}
ASKED = {
    "recommend": RANKED,
    "discover": RANKED,
    "diverse": RANKED,
    "similar_items": RANKED,
    "score": {"scores": 2, "known": 2},
    "embed": {"mean": 2},
}
# The errors of Python and NumPy for malformed data.
MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
# The "inputs" and "outputs" of a signature, with the dtype of each.
Signature: TypeAlias = dict[str, dict[str, "DTypeLike"]]
Signatures: TypeAlias = dict[str, Signature]
T = TypeVar("T")


def understood(function: Callable[[], T]) -> T:
    """Calls a function that reads an answer; `ServingError` if it cannot."""
    try:
        return function()
    except ServingError:
        raise
    except MALFORMED as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ServingError(
            "The server's answer is not that of a model of export_saved_model "
            f"({text}). Check the address, and any proxy."
        ) from None


def check_answer(
    signature: str, outputs: Mapping[str, np.ndarray], rows: int, width: int | None
) -> None:
    """Raises `ValueError` unless the outputs fit the request and each other.

    Args:
        signature: The name of the signature.
        outputs: The outputs received.
        rows: Int, the number of rows of the request.
        width: Int, the number of requested columns, or None.
    """
    wanted = ASKED.get(signature, {})
    for name, axes in wanted.items():
        if outputs[name].ndim != axes:
            raise ValueError(f"{name} has {outputs[name].ndim} axes, not {axes}")
    for name, array in outputs.items():
        if not array.ndim or len(array) != rows:
            raise ValueError(f"{name} has not one row for each of {rows}")
    if wanted is RANKED:
        items, scores, valid = (outputs[name] for name in RANKED)
        if items.shape != scores.shape:
            raise ValueError(f"{items.shape} item_ids have {scores.shape} scores")
        if valid.dtype.kind not in "iu" or (valid < 0).any():
            raise ValueError("valid is no count")
        if (valid > items.shape[1]).any():
            raise ValueError(f"valid is more than the {items.shape[1]} that came")
    elif signature == "score":
        scores, known = outputs["scores"], outputs["known"]
        if scores.shape != known.shape or scores.shape[1] < (width or 0):
            raise ValueError(f"scores have the shape {scores.shape}")
    elif signature == "embed":
        shapes = {array.shape for array in outputs.values()}
        if len(shapes) != 1:
            raise ValueError(f"mean and log_variance have the shapes {shapes}")


def concatenated(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins the outputs of several requests."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
