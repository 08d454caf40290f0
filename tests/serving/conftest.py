"""The served model of `tests/served.py`, for these tests."""

from served import films, running, served

__all__ = ["films", "running", "served"]
