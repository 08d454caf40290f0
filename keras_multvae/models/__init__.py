"""The models and their baselines."""

from keras_multvae.models.ease import EASE
from keras_multvae.models.ials import IALS
from keras_multvae.models.multdae import MultDAE
from keras_multvae.models.multvae import MultVAE
from keras_multvae.models.popularity import Popularity

__all__ = ["EASE", "IALS", "MultDAE", "MultVAE", "Popularity"]
