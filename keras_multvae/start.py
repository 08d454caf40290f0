"""What must happen before Keras is imported: choice of a backend, and quiet logs.

Only the command line calls `quiet`: programs that import the package keep their logs.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from keras_multvae.heap import share_one_heap

SUPPORTED = ("tensorflow", "jax", "torch")
# The packages to install for each backend.
INSTALL = {
    "tensorflow": "tensorflow (or tensorflow-cpu)",
    "jax": "jax",
    "torch": "torch",
}
# Set to show tracebacks and all logs of the frameworks.
DEBUG = "KERAS_MULTVAE_DEBUG"
# A log line of TensorFlow's or XLA's C++ code, in their or absl's format.
_LOGGED = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:|\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+: [IWE] |"
    rb"WARNING: All log messages before absl::|"
    rb"To enable the following instructions: "
)


def is_command_line() -> bool:
    """Whether this program is `keras-multvae`, which imports Keras late.

    So `--help` and a wrong option answer at once. Any other program that imports the
    package gets its classes registered with Keras immediately.
    """
    name = Path(sys.argv[0]).name if getattr(sys, "argv", None) else ""
    # While `python -m` looks for a module, only orig_argv has its name.
    as_module = name == "-m" and "keras_multvae" in sys.orig_argv
    return name.removesuffix(".exe") == "keras-multvae" or as_module


def choose_backend() -> None:
    """Chooses a backend for Keras. Call it before Keras is imported.

    On JAX, threads that start from here on share one heap, see `share_one_heap`.

    If none is configured and TensorFlow, Keras' default, is not installed, it takes an
    installed one, and says so on standard error.

    Raises:
        ImportError: The configured backend is not installed or not supported, or none
            is installed.
    """
    named, where = _named()
    if named == "jax":
        share_one_heap()
    if "keras" in sys.modules:
        return
    if named is not None:
        if named not in SUPPORTED:
            raise ImportError(
                f"{where} names the backend {named!r}; keras_multvae runs on "
                f"{', '.join(SUPPORTED)}."
            )
        if find_spec(named) is None:
            raise ImportError(
                f"{where} names the backend {named}, which is not installed. Install "
                f"it with: pip install {INSTALL[named].partition(' ')[0]}; or name one "
                f"that is: {', '.join(_installed()) or 'none is'}."
            )
        return
    if "tensorflow" in _installed():
        return
    if not _installed():
        raise ImportError(
            "Keras needs a backend, and none is installed. Install one of "
            f"{', '.join(INSTALL.values())}."
        )
    chosen = _installed()[0]
    os.environ["KERAS_BACKEND"] = chosen
    print(
        f"keras_multvae: TensorFlow is not installed, so Keras runs on {chosen}. Set "
        "KERAS_BACKEND to choose another.",
        file=sys.stderr,
    )


def _named() -> tuple[str | None, str]:
    """The configured backend and where it is configured; None if it is not."""
    variable = os.environ.get("KERAS_BACKEND")
    if variable:
        return variable, "The environment variable KERAS_BACKEND"
    # Where Keras looks.
    home = os.path.expanduser("~")
    default = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    file = Path(os.environ.get("KERAS_HOME", default)).expanduser() / "keras.json"
    try:
        named = json.loads(file.read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return None, ""
    # Keras writes this file on its first import, with its default in it.
    if named == "tensorflow" and find_spec("tensorflow") is None:
        return None, ""
    return named, str(file)


def _installed() -> list[str]:
    return [name for name in SUPPORTED if find_spec(name) is not None]


def quiet() -> None:
    """Silences logs of TensorFlow, absl and XLA (and so JAX), but no errors.

    Failures still reach Python as exceptions. Call it before any of them is imported;
    it does nothing if their variables or `KERAS_MULTVAE_DEBUG` are set.
    """
    if os.environ.get(DEBUG):
        return
    # Documented by TensorFlow; XLA and JAX obey it as well. 3 leaves fatal errors only,
    # as missing GPUs are logged as errors.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Python warnings of these packages are for developers, such as those of retracing.
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not any(isinstance(each, _QuietTensorFlow) for each in sys.meta_path):
        sys.meta_path.insert(0, _QuietTensorFlow())


class _QuietTensorFlow:
    """An import hook that imports TensorFlow without its log.

    TensorFlow 2.21 logs two lines before it reads TF_CPP_MIN_LOG_LEVEL. Keras imports
    an installed TensorFlow on other backends too.
    """

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if name != "tensorflow":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _QuietLoader(spec.loader.name, spec.loader.path)
        return spec


class _QuietLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        with _without_logs():
            super().exec_module(module)


@contextmanager
def _without_logs() -> Iterator[None]:
    """A context that keeps log lines from standard error.

    Everything else that was written to it appears when the context ends.
    """
    try:
        kept = os.dup(2)
    except OSError:  # There is no standard error.
        yield
        return
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            others = [line for line in file if not _LOGGED.match(line)]
            os.write(2, b"".join(others))
