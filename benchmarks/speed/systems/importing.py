"""How long imports take."""

from __future__ import annotations

import time


class Importing:
    """In a fresh process: Keras with its backend, then what the package adds."""

    def keras(self) -> float:
        """Seconds."""
        start = time.perf_counter()
        import keras  # noqa: F401

        return time.perf_counter() - start

    def package(self) -> float:
        """Seconds beyond Keras."""
        start = time.perf_counter()
        import keras_multvae  # noqa: F401

        return time.perf_counter() - start
