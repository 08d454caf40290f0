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
    """The server is not there, or too busy, also after all retries."""
