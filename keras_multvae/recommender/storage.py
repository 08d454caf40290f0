"""The folder of a recommender: docs/format.md."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import keras

from keras_multvae.data import (
    Interactions,
    Vocabulary,
    load_interactions,
    save_interactions,
)
from keras_multvae.features import ItemFeatures
from keras_multvae.features import storage as features_folder
from keras_multvae.files import (
    DamagedFileError,
    check_files,
    check_replaceable,
    existing_folder,
    open_regular,
    read_format,
    read_json,
    replace_folder,
    write_json,
    write_manifest,
)
from keras_multvae.files.sums import MANIFEST
from keras_multvae.recommender.address import address_of
from keras_multvae.registry import Entry, UnknownModelError, entry_of, find
from keras_multvae.training.record import TrainingRecord
from keras_multvae.typing import Id, Model, Titles

FORMAT = "keras_multvae.recommender"
VERSION = 1
METADATA, ITEMS, HISTORIES = "metadata.json", "items.json", "histories"


def write(
    folder: Path,
    model: Model,
    items: Vocabulary,
    histories: Interactions | None,
    titles: Titles,
    training: TrainingRecord | None,
    features: ItemFeatures | None = None,
) -> None:
    """Writes the folder, completely or not at all; see `Recommender.save`."""
    check_out(folder)
    entry = entry_of(type(model))
    with replace_folder(folder) as temporary:
        model.save(temporary / _file(entry))
        items.save(temporary / ITEMS)
        if titles:
            write_json(temporary / "titles.json", list(titles.items()))
        if histories is not None:
            save_interactions(histories, temporary / HISTORIES)
        if training is not None:
            training.write(temporary)
        if features is not None:
            features_folder.write(features, temporary / features_folder.FOLDER)
        # Last, as a folder without it is no recommender.
        write_manifest(
            temporary / METADATA,
            {
                "format": FORMAT,
                "version": VERSION,
                "model": entry.name,
                "num_items": len(items),
                "titles": bool(titles),
                "histories": histories is not None,
                "recipe": training is not None,
                **({} if features is None else {"features": True}),
                "keras": keras.__version__,
            },
        )


def read(
    folder: Path,
) -> tuple[
    Model,
    Vocabulary,
    Interactions | None,
    dict[Id, str],
    TrainingRecord | None,
    ItemFeatures | None,
]:
    """Model, items, histories, titles, recipe and features: `Recommender.load`."""
    metadata = read_format(existing_folder(folder) / METADATA, FORMAT, VERSION)
    try:
        entry = find(str(metadata.get("model")))
    except UnknownModelError as error:
        raise DamagedFileError(f"{folder}: {error}") from None
    # Folders of earlier versions have no checksums; their formats reveal damage.
    wanted = [
        _file(entry),
        ITEMS,
        "titles.json",
        "recipe.json",
        f"{HISTORIES}/{MANIFEST}",
        f"{features_folder.FOLDER}/{MANIFEST}",
    ]
    check_files(folder, metadata, wanted)
    model = _load_model(entry, folder / _file(entry))
    items = Vocabulary.load(folder / ITEMS)
    histories = None
    if metadata.get("histories"):
        histories = load_interactions(folder / HISTORIES)
    titles = {}
    if metadata.get("titles"):
        titles = _read_titles(folder / "titles.json")
    training = _read_training(folder) if metadata.get("recipe") else None
    # So that training can go on; files of earlier versions have no compile config.
    if training is not None and not model.compiled:
        training.recipe.compile(model)
    features = None
    if metadata.get("features"):
        features = features_folder.read(folder / features_folder.FOLDER, len(items))
    return model, items, histories, titles, training, features


def _file(entry: Entry) -> str:
    """The name of the model's file, in Keras' format or a baseline's."""
    return "model.keras" if issubclass(entry.model, keras.Model) else "model.npz"


def _load_model(entry: Entry, path: Path) -> Model:
    """Loads a model's file by its entry in the registry."""
    cls: Any = entry.model
    if not issubclass(cls, keras.Model):
        return cls.load(path)
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
        if bad is not None:
            raise ValueError(f"the checksum of {bad} in it is wrong")
        model = keras.saving.load_model(path)
    # For a damaged file, Keras may raise any error.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DamagedFileError(
            f"{path} is missing, truncated or no model of ours ({reason})."
        ) from None
    if type(model) is not cls:
        raise DamagedFileError(
            f"{path} holds a {type(model).__name__}, where {METADATA} says "
            f"{entry.name}."
        )
    return model


def _read_titles(path: Path) -> dict[Id, str]:
    pairs = read_json(path)
    good = isinstance(pairs, list) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], int | str)
        and isinstance(pair[1], str)
        for pair in pairs
    )
    if not good:
        raise DamagedFileError(f"{path} must be a list of pairs [raw id, title].")
    return dict(pairs)


def _read_training(folder: Path) -> TrainingRecord:
    try:
        return TrainingRecord.read(folder)
    except DamagedFileError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DamagedFileError(
            f"{folder / 'recipe.json'} is damaged: {error}"
        ) from None


def seal(folder: Path) -> None:
    """Lists all files of a recommender's folder, also those added after `write`."""
    metadata = read_format(folder / METADATA, FORMAT, VERSION)
    content = {k: v for k, v in metadata.items() if k not in ("files", "sha256")}
    write_manifest(folder / METADATA, content)


def model_name(folder: Path) -> str:
    """The name of the model of a folder."""
    return str(read_format(folder / METADATA, FORMAT, VERSION).get("model"))


def identity(folder: Path) -> list[Path]:
    """The files that define a recommender, without histories and titles."""
    return [folder / METADATA, folder / ITEMS, *sorted(folder.glob("model.*"))]


def check_out(folder: Path) -> None:
    """Raises an error if no recommender can be written there.

    Raises:
        FileExistsError: It holds something else.
        ValueError: It is an address on the Hugging Face Hub.
    """
    if address_of(folder) is not None:
        raise ValueError(
            f"This needs a folder of this machine. Received: {address_of(folder)}. "
            "`Recommender.save` brings a recommender to the Hub."
        )
    check_replaceable(folder, METADATA, FORMAT, VERSION)
