"""The errors of `ServingClient`."""

from __future__ import annotations


class ServingError(RuntimeError):
    """The server could not answer; the base class of all errors of `ServingClient`."""


class InvalidRequestError(ServingError, ValueError):
    """The server refused the request, and would refuse it again."""


class ModelNotFoundError(ServingError, LookupError):
    """The server has no such model or version."""


class ServingTimeoutError(ServingError, TimeoutError):
    """There was no answer within `timeout` seconds."""


class ServingUnavailableError(ServingError):
    """The server cannot be reached or is too busy, after all retries.

    Attributes:
        retry_after: The seconds after which the server asks for a retry, or None.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after
