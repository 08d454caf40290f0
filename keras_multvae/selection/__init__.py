"""Comparing models, and choosing the KL weight."""

from keras_multvae.selection.beta_cap import BetaSearch, find_beta_cap
from keras_multvae.selection.comparing import compare, default_models
from keras_multvae.selection.comparison import Comparison

__all__ = [
    "BetaSearch",
    "Comparison",
    "compare",
    "default_models",
    "find_beta_cap",
]
