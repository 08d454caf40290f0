"""bfloat16 on the host, as NumPy has no fast arithmetic for it.

A bfloat16 is the upper half of a float32. Integers in the order of the floats are made
by inverting the 15 lower bits of negative ones.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

DTYPE = np.dtype(ml_dtypes.bfloat16)
# The rank of -inf.
LOWEST = -0x7F81


def widen(array: np.ndarray) -> np.ndarray:
    """The same numbers in float32; other arrays are returned as they are.

    Example:

    >>> widen(np.array([1.5, -2.0], DTYPE))
    array([ 1.5, -2. ], dtype=float32)
    """
    if array.dtype != DTYPE:
        return array
    bits = array.view("uint16").astype("uint32")
    bits <<= 16
    return bits.view("float32")


def any_nan(array: np.ndarray) -> bool:
    """Whether one of the numbers is NaN.

    Example:

    >>> any_nan(np.array([np.inf, -np.nan], DTYPE))
    True
    """
    # NaN of either sign have the largest bits of that sign, beyond those of inf.
    signed, unsigned = array.view("int16"), array.view("uint16")
    return bool(array.size and (signed.max() > 0x7F80 or unsigned.max() > 0xFF80))


def to_ranks(array: np.ndarray) -> np.ndarray:
    """int16 in the order of bfloat16 numbers; -0 comes before 0, NaN at the ends.

    Example:

    >>> to_ranks(np.array([-1.0, 0.0, 1.0, 1.5], DTYPE))
    array([-16257,      0,  16256,  16320], dtype=int16)
    """
    bits = array.view("int16")
    ranks = bits >> 15
    ranks &= 0x7FFF
    ranks ^= bits
    return ranks


def from_ranks(ranks: np.ndarray) -> np.ndarray:
    """The float32 numbers of `to_ranks`."""
    return widen((ranks ^ ((ranks >> 15) & 0x7FFF)).view(DTYPE))


def rank_bounds(array: np.ndarray) -> np.ndarray:
    """Ranks that all bfloat16 numbers reach that are not below the float32 ones.

    Example:

    >>> bounds = rank_bounds(np.array([1.001, -1.001], "float32"))
    >>> from_ranks(bounds)
    array([ 1., -1.], dtype=float32)
    """
    # The upper half of an integer in the order of the float32 numbers.
    bits = array.view("int32")
    return ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) >> 16).astype("int16")
