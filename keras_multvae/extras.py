"""Optional packages: the extras of pyproject.toml."""

from __future__ import annotations

from functools import cache
from importlib import import_module, metadata
from types import ModuleType


def import_extra(module: str, extra: str) -> ModuleType:
    """Imports an optional package; if it is missing, the error names its extra."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs {module.partition('.')[0]} ({error}). Install it with: "
            f"{install_command(extra)}"
        ) from error


def rpc_error(error: ImportError) -> ImportError:
    """The error where what gRPC needs cannot be imported, with what to do."""
    return ImportError(
        f"gRPC needs more than is installed ({error}). Install it with: "
        f"{install_command('serving')}; and, beside tensorflow-cpu, pip install "
        "--no-deps tensorflow-serving-api."
    )


@cache
def package_version() -> str:
    """The installed version of this package."""
    try:
        return metadata.version("keras-multvae")
    except metadata.PackageNotFoundError:
        return "(a checkout)"


def install_command(extra: str) -> str:
    """The command that installs an extra, whether or not the package is on PyPI.

    pip and uv take the extras of an installed package from its metadata, so the same
    command serves an installation from PyPI, from a wheel and from a clone. A clone
    that is only on the path must be installed first.

    Example:

    >>> install_command("plots")
    'pip install "keras_multvae[plots]"'
    """
    try:
        metadata.distribution("keras_multvae")
    except metadata.PackageNotFoundError:
        return f'pip install -e ".[{extra}]" in the clone of keras_multvae'
    return f'pip install "keras_multvae[{extra}]"'
