"""Models in production."""

from keras_multvae.card import ModelCard
from keras_multvae.serving.config import write_serving_config
from keras_multvae.serving.export import export_saved_model
from keras_multvae.serving.onnx.export import export_onnx

__all__ = ["ModelCard", "export_onnx", "export_saved_model", "write_serving_config"]
