"""Models in production."""

from keras_multvae.card import ModelCard
from keras_multvae.serving.config import write_serving_config
from keras_multvae.serving.export import export_saved_model

__all__ = ["ModelCard", "export_saved_model", "write_serving_config"]
