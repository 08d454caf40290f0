"""The folder of a recommender: docs/format.md."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import keras

from keras_multvae.baselines import EASE, IALS, Popularity
from keras_multvae.data import (
    Interactions,
    Vocabulary,
    load_interactions,
    save_interactions,
)
from keras_multvae.files import (
    DamagedFileError,
    check_replaceable,
    read_format,
    read_json,
    replace_folder,
    write_json,
)
from keras_multvae.models import MultDAE, MultVAE

FORMAT = "keras_multvae.recommender"
VERSION = 1
METADATA = "metadata.json"
BASELINES = {model.__name__: model for model in (Popularity, EASE, IALS)}
MODEL_FILES = {
    **dict.fromkeys((MultVAE.__name__, MultDAE.__name__), "model.keras"),
    **dict.fromkeys(BASELINES, "model.npz"),
}


def write(
    folder: Path,
    model: Any,
    items: Vocabulary,
    histories: Interactions | None,
    titles: dict[Any, str],
) -> None:
    """Writes the folder, all of it or nothing; see `Recommender.save`."""
    check_out(folder)
    kind = type(model).__name__
    with replace_folder(folder) as temporary:
        model.save(temporary / MODEL_FILES[kind])
        items.save(temporary / "items.json")
        if titles:
            write_json(temporary / "titles.json", list(titles.items()))
        if histories is not None:
            save_interactions(histories, temporary / "histories")
        # Last: a folder without it is not a recommender.
        write_json(
            temporary / METADATA,
            {
                "format": FORMAT,
                "version": VERSION,
                "model": kind,
                "num_items": len(items),
                "titles": bool(titles),
                "histories": histories is not None,
                "keras": keras.__version__,
            },
        )


def read(
    folder: Path,
) -> tuple[Any, Vocabulary, Interactions | None, dict[Any, str]]:
    """Model, items, histories and titles of a folder; see `Recommender.load`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    metadata = read_format(folder / METADATA, FORMAT, VERSION)
    kind = str(metadata.get("model"))
    if kind not in MODEL_FILES:
        raise DamagedFileError(
            f"{folder} holds a model of kind {kind!r}; known are "
            f"{', '.join(MODEL_FILES)}."
        )
    model = _load_model(kind, folder / MODEL_FILES[kind])
    items = Vocabulary.load(folder / "items.json")
    histories = None
    if metadata.get("histories"):
        histories = load_interactions(folder / "histories")
    titles = {}
    if metadata.get("titles"):
        titles = dict(read_json(folder / "titles.json"))
    return model, items, histories, titles


def _load_model(kind: str, path: Path) -> Any:
    if kind in BASELINES:
        return BASELINES[kind].load(path)
    try:
        return keras.saving.load_model(path)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DamagedFileError(
            f"{path} is missing, truncated or no model of ours ({error})."
        ) from None


def check_out(folder: Path) -> None:
    """Raises `FileExistsError` where a recommender must not be written."""
    check_replaceable(folder, METADATA, FORMAT, VERSION)
