"""What can go wrong between a client and its server."""

from __future__ import annotations


class ServingError(RuntimeError):
    """The server could not answer; the base of all errors of `ServingClient`."""


class InvalidRequestError(ServingError, ValueError):
    """The server refuses the request: sent again, it would be refused again."""


class ModelNotFoundError(ServingError, LookupError):
    """The server has no such model, or not that version of it."""


class ServingTimeoutError(ServingError, TimeoutError):
    """There was no answer within `timeout` seconds."""


class ServingUnavailableError(ServingError):
    """The server is not there, or too busy, also after all retries.

    Attributes:
        retry_after: The seconds after which the server asks to be tried again, or None.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after
