"""The server's log: on standard error, and no line again and again."""

from __future__ import annotations

import logging
import time

AGAIN_SECONDS = 60.0
MAX_TEXTS = 1000


class NotAgain(logging.Filter):
    """Lets a text through once a minute at most, and says how often it came meanwhile.

    So nobody who is refused again and again fills the disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        if record.levelno < logging.WARNING:
            return True
        # Of our own lines, the values tell one event from another; of those of the
        # HTTP libraries, they are addresses of whoever sent something.
        own = record.name.startswith("keras_multvae")
        text = record.getMessage() if own else str(record.msg)
        key = record.name, text.partition("\n")[0]
        until, left_out = self._seen.get(key, (0.0, 0))
        now = time.monotonic()
        if now < until:
            self._seen[key] = until, left_out + 1
            return False
        if len(self._seen) >= MAX_TEXTS:
            self._seen.clear()
        self._seen[key] = now + AGAIN_SECONDS, 0
        if left_out:
            record.msg = f"{record.msg} (and {left_out} times since it was last said)"
        return True


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "filters": {"not_again": {"()": NotAgain}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "filters": ["not_again"],
        }
    },
    "loggers": {
        "keras_multvae.server": {"handlers": ["stderr"], "level": "INFO"},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING"},
        "asyncio": {"handlers": ["stderr"], "level": "WARNING"},
        # It calls the loader deprecated that TensorFlow Serving uses.
        "tensorflow": {"level": "ERROR"},
    },
}
