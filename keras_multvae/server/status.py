"""Errors as TensorFlow Serving reports them: a canonical code, an HTTP status, a text.

References:
    - https://github.com/tensorflow/serving/blob/master/tensorflow_serving/model_servers/http_server.cc
"""

from __future__ import annotations

# The canonical codes of gRPC and TensorFlow, by number, with TensorFlow Serving's
# HTTP statuses.
CODES = {
    0: ("OK", 200),
    1: ("CANCELLED", 499),
    2: ("UNKNOWN", 500),
    3: ("INVALID_ARGUMENT", 400),
    4: ("DEADLINE_EXCEEDED", 504),
    5: ("NOT_FOUND", 404),
    6: ("ALREADY_EXISTS", 409),
    7: ("PERMISSION_DENIED", 403),
    8: ("RESOURCE_EXHAUSTED", 429),
    9: ("FAILED_PRECONDITION", 400),
    10: ("ABORTED", 409),
    11: ("OUT_OF_RANGE", 400),
    12: ("UNIMPLEMENTED", 501),
    13: ("INTERNAL", 500),
    14: ("UNAVAILABLE", 503),
    15: ("DATA_LOSS", 500),
    16: ("UNAUTHENTICATED", 401),
}
HTTP_STATUS = dict(CODES.values())


class StatusError(Exception):
    """A request that cannot be answered.

    Args:
        code: Name of a canonical code, such as "INVALID_ARGUMENT".
        message: The message to the client.
        http_status: The status of the answer, if it is not that of the code.
    """

    def __init__(self, code: str, message: str, http_status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.http_status = http_status or HTTP_STATUS[code]

    def __str__(self) -> str:
        return str(self.args[0])


def invalid(*parts: object) -> StatusError:
    """INVALID_ARGUMENT, with a text joined from parts."""
    return StatusError("INVALID_ARGUMENT", "".join(map(str, parts)))


def too_large(text: str) -> StatusError:
    """The error for a request that is too large (status 413)."""
    return StatusError(
        "INVALID_ARGUMENT", f"{text} Send fewer rows at a time.", http_status=413
    )


def not_found(name: str, version: int | None) -> StatusError:
    """NOT_FOUND for a model or a version of it."""
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return StatusError("NOT_FOUND", f"Servable not found for request: {wanted}")
