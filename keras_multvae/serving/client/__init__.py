"""A client of TensorFlow Serving, or of the local server."""

from keras_multvae.serving.client.client import ServingClient
from keras_multvae.serving.client.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    ServingError,
    ServingTimeoutError,
    ServingUnavailableError,
)

__all__ = [
    "InvalidRequestError",
    "ModelNotFoundError",
    "ServingClient",
    "ServingError",
    "ServingTimeoutError",
    "ServingUnavailableError",
]
