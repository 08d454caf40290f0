"""TensorFlow Serving's REST API without Docker, and a page to try a model."""

from keras_multvae.server.server import serve

__all__ = ["serve"]
