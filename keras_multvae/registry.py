"""The registry of models by name. It imports Keras only when it needs a class.

Models of this package are in `BUILT_IN`. Another model is known once its module has
been imported and has registered the class: by the caller (`--import` on the command
line), or through an entry point of an installed package (group `keras_multvae.models`,
the model's name, the module as its value). Stored files never name a module to import.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from keras_multvae.settings import Settings

GROUP = "keras_multvae.models"
# For each model, where its settings (if `Recipe` trains it) and its class are.
BUILT_IN: dict[str, tuple[str | None, str]] = {
    "MultVAE": ("models.multvae_config:MultVAEConfig", "models.multvae:MultVAE"),
    "MultDAE": ("models.multdae_config:MultDAEConfig", "models.multdae:MultDAE"),
    "RecVAE": ("models.recvae_config:RecVAEConfig", "models.recvae:RecVAE"),
    "EASE": (None, "baselines.ease:EASE"),
    "IALS": (None, "baselines.ials:IALS"),
    "Popularity": (None, "baselines.popularity:Popularity"),
    "SparseEASE": (None, "baselines.sparse_ease:SparseEASE"),
}
# The name of the main module, here and in a process that `take_over` prepared.
PROGRAM_ELSEWHERE = "__keras_multvae_main__"
PROGRAM = {"__main__", PROGRAM_ELSEWHERE}
Class = TypeVar("Class", bound=type)
_registered: dict[str, type] = {}
_imported: list[str] = []


class UnknownModelError(ValueError):
    """No model of that name is known in this process."""


@dataclass(frozen=True)
class Entry:
    """A model by its name."""

    name: str

    @property
    def model(self) -> type:
        """Its class; imports it, and Keras."""
        if self.name in _registered:
            return _registered[self.name]
        return _attribute(BUILT_IN[self.name][1])

    @property
    def config(self) -> type[Settings] | None:
        """The class of its settings; None where `Recipe` does not train it."""
        if self.name in _registered:
            return getattr(_registered[self.name], "Config", None)
        path = BUILT_IN[self.name][0]
        return None if path is None else _attribute(path)


def register_model(cls: Class) -> Class:
    """Registers a model by the name of its class, so that it can be trained and stored.

    To be used as a decorator. A `keras.Model` is also registered with Keras' saving. A
    nested `Config`, a frozen dataclass derived from `Settings`, has the arguments of
    the class but for `num_items` and `seed`; with it, `Recipe` and the command line
    train the model. docs/architecture.md tells which methods make which abilities.

    Args:
        cls: A subclass of `RankingModel`, or of `Baseline`.

    Returns:
        The class itself.

    Raises:
        ValueError: Another class has that name.

    Example:

    >>> from keras_multvae import Popularity, register_model
    >>> @register_model
    ... class RarestFirst(Popularity):
    ...     def score(self, histories, batch_size=500):
    ...         return -super().score(histories)
    >>> "RarestFirst" in names()
    True
    """
    name = cls.__name__
    known = _registered.get(name)
    if name in BUILT_IN or (
        known is not None
        and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__)
    ):
        owner = "keras_multvae" if known is None else known.__module__
        raise ValueError(
            f"A model named {name} is registered already, by {owner}: give "
            f"{cls.__module__}.{name} another name."
        )
    if any(each.__module__.startswith("keras.") for each in cls.__mro__):
        import keras

        known = keras.saving.get_registered_name(cls)
        if keras.saving.get_registered_object(known) is not cls:
            keras.saving.register_keras_serializable("keras_multvae_models")(cls)
    _registered[name] = cls
    return cls


def names() -> list[str]:
    """The names of all models: built in, registered, or announced by packages."""
    return sorted({*BUILT_IN, *_registered, *_announced()})


def find(name: str) -> Entry:
    """A model by its name; imports a package that announces it.

    Raises:
        UnknownModelError: This process knows no such model.
    """
    if name not in BUILT_IN and name not in _registered:
        if name in _announced():
            import_modules([_announced()[name]])
        if name not in _registered:
            raise UnknownModelError(
                f"The model {name!r} is not known; known are {', '.join(names())}. "
                "Import the module that registers it first (--import MODULE on the "
                "command line), or install the package that announces it."
            )
    return Entry(name)


def entry_of(cls: type) -> Entry:
    """The entry of a class.

    Raises:
        TypeError: It was not registered.
    """
    name = cls.__name__
    if name in {*BUILT_IN, *_registered} and Entry(name).model is cls:
        return Entry(name)
    raise TypeError(
        f"{cls.__module__}.{cls.__qualname__} is not a registered model, so it could "
        "not be loaded again. Put @keras_multvae.register_model over its class."
    )


def config_entry(config: Settings) -> Entry:
    """The entry of the model that a `Config` belongs to.

    Raises:
        TypeError: It belongs to no registered model.
    """
    for name in (*BUILT_IN, *_registered):
        if Entry(name).config is type(config):
            return Entry(name)
    raise TypeError(
        f"{type(config).__qualname__} is not the Config of a registered model. Put "
        "@keras_multvae.register_model over the class that it belongs to."
    )


def import_modules(modules: Iterable[str]) -> None:
    """Imports modules that register models, and remembers them for `handover`.

    Raises:
        ImportError: There is no such module.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
                raise
            raise ImportError(
                f"There is no module {module!r} to import: it must be installed, or "
                "lie in a folder of PYTHONPATH."
            ) from None
        if module not in _imported:
            _imported.append(module)


def handover(cls: type, *, program: bool = True) -> str:
    """The text that lets `take_over` in another process know a model.

    Args:
        cls: The model's class. Modules of `import_modules` are handed over too.
        program: Bool, whether the other process may run this program's file to find the
            class.

    Raises:
        ValueError: The class is defined by this program, which is no file (as in a
            notebook) or must not be run.
    """
    names = list(_imported)
    if cls in _registered.values() and cls.__module__ not in names:
        names.append(cls.__module__)
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    inside = not PROGRAM.isdisjoint(names)
    if inside and (file is None or not program):
        raise ValueError(
            f"{cls.__name__} is registered by the program that runs, or in a notebook, "
            "where other processes cannot import it. Put it into a module of its own."
        )
    others = [name for name in names if name not in PROGRAM]
    return json.dumps(
        {
            "modules": others,
            "paths": sorted({_root(name) for name in others}),
            "program": os.path.abspath(str(file)) if inside else None,
        }
    )


def take_over(text: str) -> None:
    """Registers the models of another process from the text of its `handover`."""
    given = json.loads(text)
    # Last, so that these folders hide no installed package.
    sys.path.extend(path for path in given["paths"] if path not in sys.path)
    import_modules(given["modules"])
    if given["program"] is not None:
        # As multiprocessing does, so code under `if __name__ == "__main__"` does not
        # run.
        runpy.run_path(given["program"], run_name=PROGRAM_ELSEWHERE)


def _root(module: str) -> str:
    """The folder that a module is found from."""
    file = Path(str(sys.modules[module].__file__)).resolve()
    depth = module.count(".") + (file.stem == "__init__")
    return str(file.parents[depth])


def _announced() -> dict[str, str]:
    """The modules that installed packages announce, by the model's name."""
    return {each.name: each.value for each in entry_points(group=GROUP)}


def _attribute(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"keras_multvae.{module}"), name)
