"""The models."""

from keras_multvae.models.multvae import MultVAE
from keras_multvae.models.popularity import Popularity

__all__ = ["MultVAE", "Popularity"]
