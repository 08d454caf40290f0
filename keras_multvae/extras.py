"""Optional packages: the extras of pyproject.toml."""

from __future__ import annotations

from importlib import import_module, metadata
from types import ModuleType


def import_extra(module: str, extra: str) -> ModuleType:
    """Imports an optional package; if it is missing, the error names its extra."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This needs {module.partition('.')[0]} ({error}). Install it with: "
            f'pip install "keras_multvae[{extra}]"'
        ) from error


def package_version() -> str:
    """The installed version of this package."""
    try:
        return metadata.version("keras-multvae")
    except metadata.PackageNotFoundError:
        return "(a checkout)"
