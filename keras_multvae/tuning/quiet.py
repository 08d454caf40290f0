"""Optuna without its log."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from types import ModuleType

from keras_multvae.extras import import_extra


@contextlib.contextmanager
def optuna() -> Iterator[ModuleType]:
    """The module `optuna`, in a context in which it logs errors alone.

    Its parts that are called experimental are used on purpose, of whole ranges of
    versions, and warn at every use.

    Raises:
        ImportError: It is not installed; names the extra.
    """
    with warnings.catch_warnings():
        # In notebooks without ipywidgets, of its progress bars, which are not shown.
        warnings.filterwarnings("ignore", "IProgress not found")
        module = import_extra("optuna", "tune")
    before = module.logging.get_verbosity()
    module.logging.set_verbosity(module.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", module.exceptions.ExperimentalWarning)
            yield module
    finally:
        module.logging.set_verbosity(before)
