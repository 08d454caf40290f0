"""Interactions, vocabularies, splits and the folders that hold them."""

from __future__ import annotations

from keras_multvae.data.batches import UserBatches
from keras_multvae.data.interactions import Interactions
from keras_multvae.data.prepared import (
    Prepared,
    load_interactions,
    load_prepared,
    save_interactions,
    save_prepared,
)
from keras_multvae.data.reading import (
    read_columns,
    read_interactions,
    read_titles,
)
from keras_multvae.data.sources.movielens import load_movielens
from keras_multvae.data.splits import (
    FoldIn,
    Split,
    leave_last_out,
    strong_generalization,
    temporal_split,
)
from keras_multvae.data.vocabulary import UnknownIdError, Vocabulary

__all__ = [
    "FoldIn",
    "Interactions",
    "Prepared",
    "Split",
    "UnknownIdError",
    "UserBatches",
    "Vocabulary",
    "leave_last_out",
    "load_interactions",
    "load_movielens",
    "load_prepared",
    "read_columns",
    "read_interactions",
    "read_titles",
    "save_interactions",
    "save_prepared",
    "strong_generalization",
    "temporal_split",
]
