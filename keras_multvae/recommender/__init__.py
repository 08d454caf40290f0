"""A model with its vocabularies: raw ids in, ranked raw ids out."""

from keras_multvae.recommender.recommendations import Recommendations
from keras_multvae.recommender.recommender import Recommender

__all__ = ["Recommendations", "Recommender"]
