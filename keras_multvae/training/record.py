"""The record of a training: recipe, data and versions. Imports no Keras."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Self

from keras_multvae.files import DamagedFileError, read_format, read_json, write_json
from keras_multvae.training.recipe import PARTS, Recipe

FORMAT, VERSION = "keras_multvae.recipe", 1
FILE = "recipe.json"


@dataclass(frozen=True)
class TrainingRecord:
    """How a model was trained; stored in its folder.

    Args:
        recipe: The `Recipe`.
        data: SHA-256 of the matrices that the training read.
        versions: Versions of Python and of the packages involved, by name; `backend` is
            the name of Keras' backend.
        warm_start: SHA-256 of the weights of a warm start, if any.
    """

    recipe: Recipe
    data: str
    versions: dict[str, str]
    warm_start: str | None = None

    def write(self, folder: Path) -> None:
        """Writes it as `recipe.json` of a folder."""
        begun = {} if self.warm_start is None else {"warm_start": self.warm_start}
        write_json(
            folder / FILE,
            {
                "format": FORMAT,
                "version": VERSION,
                **self.recipe.to_json(),
                "data": self.data,
                "versions": self.versions,
                **begun,
            },
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads what `write` wrote.

        Raises:
            DamagedFileError: A foreign, damaged or newer file.
            ValueError: A setting that is wrong, or a model that is not known.
        """
        values = read_format(folder / FILE, FORMAT, VERSION)
        recipe = {part: each for part, each in values.items() if part in PARTS}
        data, versions = values.get("data"), values.get("versions")
        if not isinstance(data, str) or not isinstance(versions, dict):
            raise DamagedFileError(f"{folder / FILE} has no data or no versions.")
        begun = values.get("warm_start")
        if not isinstance(begun, str | None):
            raise DamagedFileError(f"{folder / FILE} has a bad `warm_start`.")
        return cls(Recipe.from_json(recipe), data, versions, begun)


def read_recipe(path: Path) -> Recipe:
    """The recipe of a model's folder, or of a JSON file.

    A file holds `model`, `settings` and `training`, each of which may be left out.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: It is no JSON, or of a newer version.
        ValueError: A setting that is wrong, by its name, or a model that is not known.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no recipe {file}: give the folder of a model, or a JSON file."
        )
    values = read_json(file)
    if not isinstance(values, dict):
        raise DamagedFileError(f"{file} must hold one JSON object.")
    if "format" in values:
        values = read_format(file, FORMAT, VERSION)
    beside = ("format", "version", "data", "versions", "warm_start")
    try:
        return Recipe.from_json({k: v for k, v in values.items() if k not in beside})
    except (ValueError, TypeError, AttributeError) as error:
        raise type(error)(f"{file}: {error}") from None


def versions(backend: str) -> dict[str, str]:
    """Of Python and of the packages that take part in a training, by name."""
    found = {"python": platform.python_version(), "backend": backend}
    names = ["keras-multvae", "keras", "numpy", "scipy", backend]
    if backend == "tensorflow":
        names.append("tensorflow-cpu")
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
