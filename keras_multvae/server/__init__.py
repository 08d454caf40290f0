"""TensorFlow Serving's REST API for those without Docker, and a page to try it on."""

from keras_multvae.server.server import serve

__all__ = ["serve"]
