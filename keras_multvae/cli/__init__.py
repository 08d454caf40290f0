"""The command line: `keras-multvae`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from keras_multvae import start
from keras_multvae.cli.parser import parse

# Errors of bad files and arguments; TypeError is for ids that are decimal or missing.
FAILURES = (
    ValueError,
    TypeError,
    KeyError,
    OSError,
    ImportError,
    RuntimeError,
    MemoryError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, or 1 with one line on standard error."""
    # Before importing the modules of --import, which import Keras.
    start.quiet()
    parsed = parse(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = partial(_warn, parsed.command)
    try:
        # Keras is imported only now; usage errors were reported without it.
        start.choose_backend()
        module, _, name = parsed.run.partition(":")
        getattr(import_module(module), name)(parsed)
    except BrokenPipeError:
        # The reader, such as `| head`, has closed the pipe; Python must not report it
        # either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FAILURES as error:
        if os.environ.get(start.DEBUG):
            raise
        print(f"keras-multvae {parsed.command}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        text = f"interrupted. {error}" if str(error) else "interrupted"
        print(f"keras-multvae {parsed.command}: {text}", file=sys.stderr)
        return 1
    return 0


def _warn(command: str, message: Warning | str, *_: object, **__: object) -> None:
    """Prints a warning as one line, without its source line."""
    print(f"keras-multvae {command}: warning: {message}", file=sys.stderr)
