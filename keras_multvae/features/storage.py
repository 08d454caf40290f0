"""The folder of features: docs/format.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from keras_multvae.features.feature import Feature
from keras_multvae.features.item_features import ItemFeatures
from keras_multvae.features.kinds import KINDS
from keras_multvae.files import (
    DamagedFileError,
    check_files,
    existing_folder,
    open_regular,
    read_format,
    read_json,
    write_json,
    write_manifest,
)
from keras_multvae.typing import Json

FORMAT, VERSION = "keras_multvae.features", 1
# The folder, in a prepared folder or a recommender's.
FOLDER, MANIFEST = "features", "manifest.json"
_SPARSE = {"indptr": "<i8", "indices": "<i4", "data": "<f4"}


def write(features: ItemFeatures, folder: Path) -> None:
    """Writes features into a folder that is being made."""
    folder.mkdir()
    records = []
    for number, feature in enumerate(features):
        matrix, part = feature.matrix, folder / f"feature-{number}"
        part.mkdir()
        if sparse.issparse(matrix):
            for name, dtype in _SPARSE.items():
                _save(part / f"{name}.npy", getattr(matrix, name), dtype)
        else:
            _save(part / "matrix.npy", matrix, "<f4")
        if feature.values is not None:
            write_json(part / "values.json", list(feature.values))
        records.append(
            {
                "name": feature.name,
                "kind": feature.kind,
                "width": matrix.shape[1],
                "sparse": bool(sparse.issparse(matrix)),
            }
        )
    content = {"format": FORMAT, "version": VERSION, "items": features.num_items}
    write_manifest(folder / MANIFEST, {**content, "features": records})


def read(folder: Path, num_items: int) -> ItemFeatures:
    """Reads what `write` wrote, and verifies it.

    Raises:
        DamagedFileError: A damaged or newer folder, or features of other items.
    """
    manifest = read_format(existing_folder(folder) / MANIFEST, FORMAT, VERSION)
    check_files(folder, manifest)
    records = manifest.get("features")
    if manifest.get("items") != num_items or not isinstance(records, list):
        raise DamagedFileError(
            f"{folder} has features of {manifest.get('items')} items, where there are "
            f"{num_items}. Make the folder anew."
        )
    try:
        return ItemFeatures(
            [
                _read_feature(folder / f"feature-{number}", record, num_items)
                for number, record in enumerate(records)
            ]
        )
    except DamagedFileError:
        raise
    except (ValueError, TypeError, KeyError, EOFError) as error:
        raise DamagedFileError(f"The features in {folder} are damaged: {error}") from (
            None
        )


def _read_feature(part: Path, record: Json, num_items: int) -> Feature:
    name, kind, width = record["name"], record["kind"], record["width"]
    if kind not in (*KINDS, "vector") or type(width) is not int or width < 0:
        raise ValueError(f"{record!r} describes no feature")
    shape, matrix = (num_items, width), None
    if record["sparse"] is True:
        arrays = {n: _load(part / f"{n}.npy", dtype) for n, dtype in _SPARSE.items()}
        matrix = sparse.csr_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape
        )
        # Indices that are out of range would reach routines in C.
        matrix.check_format(full_check=True)
    else:
        matrix = _load(part / "matrix.npy", "<f4")
    if matrix.shape != shape:
        raise ValueError(f"{name!r} has the shape {matrix.shape}, not {shape}")
    values = None
    if kind in ("labels", "words"):
        values = read_json(part / "values.json")
        if not isinstance(values, list) or not all(type(v) is str for v in values):
            raise ValueError(f"the values of {name!r} must be a list of text")
        values = tuple(values)
    return Feature(str(name), kind, matrix, values)


def _save(path: Path, array: np.ndarray, dtype: str) -> None:
    np.save(path, np.ascontiguousarray(array, dtype), allow_pickle=False)


def _load(path: Path, dtype: str) -> np.ndarray:
    with open_regular(path) as file:
        array: np.ndarray = np.load(file, allow_pickle=False)
    if array.dtype != np.dtype(dtype):
        raise ValueError(f"{path.name} holds {array.dtype}, not {dtype}")
    return array
