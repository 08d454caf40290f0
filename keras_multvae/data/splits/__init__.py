"""Splits into training, validation and test parts."""

from keras_multvae.data.splits.base import FoldIn, Split
from keras_multvae.data.splits.by_time import leave_last_out, temporal_split
from keras_multvae.data.splits.strong import strong_generalization

__all__ = [
    "FoldIn",
    "Split",
    "leave_last_out",
    "strong_generalization",
    "temporal_split",
]
