"""The models that Keras trains."""

from keras_multvae.models.multdae import MultDAE
from keras_multvae.models.multvae import MultVAE

__all__ = ["MultDAE", "MultVAE"]
