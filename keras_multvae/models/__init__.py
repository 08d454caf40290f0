"""The models."""

from keras_multvae.models.multvae import MultVAE

__all__ = ["MultVAE"]
