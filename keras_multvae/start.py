"""What is settled before Keras is imported: its backend, and who may speak. No Keras.

`quiet` is for the command line alone: a program of somebody's own, which imports the
package, hears from its frameworks what it always did.
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

SUPPORTED = ("tensorflow", "jax", "torch")
# What to install for each: the names of its package.
INSTALL = {
    "tensorflow": "tensorflow (or tensorflow-cpu)",
    "jax": "jax",
    "torch": "torch",
}
# Shows where an error came from, and all that the frameworks have to say.
DEBUG = "KERAS_MULTVAE_DEBUG"
# A line of the log of TensorFlow's or XLA's C++ code, as absl and as they write it.
_LOGGED = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:|\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+: [IWE] |"
    rb"WARNING: All log messages before absl::|"
    rb"To enable the following instructions: "
)


def is_command_line() -> bool:
    """Whether the program that runs is `keras-multvae`, which imports Keras when due.

    So `--help` and a wrong option answer at once. A program of somebody's own, which
    imports the package, gets everything registered with Keras straight away.
    """
    name = Path(sys.argv[0]).name if getattr(sys, "argv", None) else ""
    # While `python -m` looks for a module, its name stands in orig_argv alone.
    as_module = name == "-m" and "keras_multvae" in sys.orig_argv
    return name.removesuffix(".exe") == "keras-multvae" or as_module


def choose_backend() -> None:
    """Sees to it that Keras finds a backend; to be called before Keras is imported.

    Where nothing names one and TensorFlow, Keras' default, is not installed, an
    installed one is taken, and that is said on standard error.

    Raises:
        ImportError: The one that is named, or any at all, is not installed or not
            supported.
    """
    if "keras" in sys.modules:
        return
    named, where = _named()
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
    """The backend that was asked for, and where; None where nothing was said."""
    variable = os.environ.get("KERAS_BACKEND")
    if variable:
        return variable, "The environment variable KERAS_BACKEND"
    # Where Keras itself looks.
    home = os.path.expanduser("~")
    default = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    file = Path(os.environ.get("KERAS_HOME", default)).expanduser() / "keras.json"
    try:
        named = json.loads(file.read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return None, ""
    # Keras writes the file by itself, with its default in it, on its first import.
    if named == "tensorflow" and find_spec("tensorflow") is None:
        return None, ""
    return named, str(file)


def _installed() -> list[str]:
    return [name for name in SUPPORTED if find_spec(name) is not None]


def quiet() -> None:
    """Silences the logs of TensorFlow, absl and XLA, and so JAX, not their errors.

    What fails there reaches Python as an exception. To be called before either is
    imported; who sets the variables, or `KERAS_MULTVAE_DEBUG`, hears them again.
    """
    if os.environ.get(DEBUG):
        return
    # Documented by TensorFlow; XLA, and so JAX, obeys it as well. 3 leaves fatal
    # errors: what is logged as an error without one are GPUs that are not there.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Their Python code advises those who write it: it retraces, and the like.
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not any(isinstance(each, _QuietTensorFlow) for each in sys.meta_path):
        sys.meta_path.insert(0, _QuietTensorFlow())


class _QuietTensorFlow:
    """Finds TensorFlow as ever, and has it imported without its log.

    TensorFlow 2.21 logs twice, while its libraries are loaded, before it looks at
    TF_CPP_MIN_LOG_LEVEL. Keras imports it on other backends too, where it is there.
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
    """A context in which lines of logs do not come through to standard error.

    All else does, once it is over: warnings, and what somebody else wrote.
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
