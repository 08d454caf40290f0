"""Which backend Keras runs on, settled before Keras is imported. No Keras here."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

SUPPORTED = ("tensorflow", "jax", "torch")
# What to install for each: the names of its package.
INSTALL = {
    "tensorflow": "tensorflow (or tensorflow-cpu)",
    "jax": "jax",
    "torch": "torch",
}


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
