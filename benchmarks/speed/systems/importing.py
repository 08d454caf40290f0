"""How long imports take, and the help of the command line, which does without."""

from __future__ import annotations

import subprocess
import sys
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

    def help(self) -> float:
        """Seconds of `keras-multvae --help`, in a process of its own."""
        start = time.perf_counter()
        command = [sys.executable, "-m", "keras_multvae", "--help"]
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start
