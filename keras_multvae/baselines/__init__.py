"""What every autoencoder must beat."""

from keras_multvae.baselines.ease import EASE
from keras_multvae.baselines.ials import IALS
from keras_multvae.baselines.popularity import Popularity

__all__ = ["EASE", "IALS", "Popularity"]
