"""What a recommender holds."""

from __future__ import annotations

from keras_multvae.data import Interactions, Vocabulary
from keras_multvae.features import ItemFeatures
from keras_multvae.training.record import TrainingRecord
from keras_multvae.typing import Id, Model


class Parts:
    """The attributes of a `Recommender`, for the classes that it is made of."""

    model: Model
    items: Vocabulary
    histories: Interactions | None
    titles: dict[Id, str]
    training: TrainingRecord | None
    features: ItemFeatures | None
