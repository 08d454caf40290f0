"""The prepared folder and the interactions folder, as docs/format.md specifies them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_multvae.data.columns.csr import csr_over
from keras_multvae.data.columns.mapped import map_array, save_array
from keras_multvae.data.interactions import Interactions
from keras_multvae.data.splits.base import FoldIn, Split
from keras_multvae.data.vocabulary import Vocabulary
from keras_multvae.files import (
    DamagedFileError,
    check_replaceable,
    read_format,
    replace_folder,
    write_json,
)

PREPARED = "keras_multvae.prepared"
INTERACTIONS = "keras_multvae.interactions"
TITLES = "keras_multvae.titles"
VERSION = 1

_DTYPES = {
    "indptr": "<i8",
    "indices": "<i4",
    "data": "<f4",
    "timestamps": "<i8",
    "fractions": "<i4",
    "positions": "<i8",
    "user_weights": "<f4",
}


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a prepared folder holds.

    Args:
        split: The training, validation and test parts.
        titles: Title by raw item id, for items that have one.
        manifest: The folder's manifest: settings, counts, arrays.
    """

    split: Split
    titles: dict[int | str, str]
    manifest: dict[str, Any]


def save_prepared(
    split: Split,
    folder: str | os.PathLike[str],
    titles: dict[Any, str] | None = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Writes a split as a prepared folder, all of it or nothing.

    The same split gives the same bytes. An older prepared folder of that name is
    replaced at the end; anything else there is left alone.

    Args:
        split: What to write.
        folder: The folder to make.
        titles: Optional title by raw item id; those of other items are left out.
        settings: Optional, how the interactions were read; kept in the manifest. Must
            be representable as JSON.

    Raises:
        FileExistsError: `folder` holds something else.
        ValueError: `titles` has no title for any item.

    Example:

    >>> import tempfile
    >>> clicks = Interactions.from_events([1, 1, 2], ["a", "b", "a"])
    >>> folder = tempfile.mkdtemp()
    >>> save_prepared(Split(clicks), folder, titles={"a": "Alien"})
    >>> load_prepared(folder).titles
    {'a': 'Alien'}
    """
    items = split.train.items
    title_list = None if titles is None else _titles_in_order(titles, items)
    check_replaceable(Path(folder), "manifest.json", PREPARED, VERSION)
    with replace_folder(folder) as temporary:
        parts = {"train": _write_part(split.train, temporary, "train")}
        split.train.users.save(temporary / "train" / "users.json")
        for name in ("validation", "test"):
            fold_in = getattr(split, name)
            if fold_in is not None:
                for side in ("input", "targets"):
                    part = f"{name}/{side}"
                    parts[part] = _write_part(getattr(fold_in, side), temporary, part)
                fold_in.input.users.save(temporary / name / "users.json")
        items.save(temporary / "items.json")
        if title_list is not None:
            write_json(
                temporary / "titles.json",
                {"format": TITLES, "version": VERSION, "titles": title_list},
            )
        # Last: a folder without it is not a prepared folder.
        write_json(
            temporary / "manifest.json",
            {
                "format": PREPARED,
                "version": VERSION,
                "settings": settings or {},
                "split": split.settings,
                "parts": parts,
                "titles": title_list is not None,
            },
        )


def load_prepared(folder: str | os.PathLike[str], mmap: bool = True) -> Prepared:
    """Reads a prepared folder.

    Args:
        folder: What `save_prepared` wrote.
        mmap: Bool, whether arrays stay on disk, memory-mapped and read-only, so that
            the interactions need not fit in memory.

    Returns:
        The split, the titles and the manifest.

    Raises:
        FileNotFoundError: There is no such folder.
        DamagedFileError: A foreign, truncated or newer folder.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder, PREPARED)
    items = Vocabulary.load(folder / "items.json")

    def read(part: str, users: Vocabulary) -> Interactions:
        return _read_part(manifest, folder, part, users, items, mmap)

    def fold_in(name: str) -> FoldIn | None:
        if f"{name}/input" not in manifest["parts"]:
            return None
        users = Vocabulary.load(folder / name / "users.json")
        return FoldIn(read(f"{name}/input", users), read(f"{name}/targets", users))

    train = read("train", Vocabulary.load(folder / "train" / "users.json"))
    split = Split(
        train, fold_in("validation"), fold_in("test"), manifest.get("split", {})
    )
    titles = _read_titles(folder, items) if manifest.get("titles") else {}
    return Prepared(split, titles, manifest)


def save_interactions(
    interactions: Interactions, folder: str | os.PathLike[str]
) -> None:
    """Writes interactions as one folder, all of it or nothing.

    Args:
        interactions: What to write.
        folder: The folder to make; an older one of this kind is replaced at the end.

    Raises:
        FileExistsError: `folder` holds something else.
    """
    check_replaceable(Path(folder), "manifest.json", INTERACTIONS, VERSION)
    with replace_folder(folder) as temporary:
        part = _write_part(interactions, temporary, "")
        interactions.users.save(temporary / "users.json")
        interactions.items.save(temporary / "items.json")
        write_json(
            temporary / "manifest.json",
            {"format": INTERACTIONS, "version": VERSION, "parts": {"": part}},
        )


def load_interactions(
    folder: str | os.PathLike[str], mmap: bool = True
) -> Interactions:
    """Reads what `save_interactions` wrote.

    Args:
        folder: The folder.
        mmap: Bool, whether arrays stay on disk, memory-mapped and read-only.

    Returns:
        The interactions.

    Raises:
        FileNotFoundError: There is no such folder.
        DamagedFileError: A foreign, truncated or newer folder.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder, INTERACTIONS)
    users = Vocabulary.load(folder / "users.json")
    items = Vocabulary.load(folder / "items.json")
    return _read_part(manifest, folder, "", users, items, mmap)


def _write_part(interactions: Interactions, folder: Path, part: str) -> dict[str, Any]:
    """Writes the arrays of a part and gives its record for the manifest."""
    (folder / part).mkdir(exist_ok=True, parents=True)
    matrix = interactions.matrix
    arrays = {
        "indptr": matrix.indptr,
        "indices": matrix.indices,
        "data": matrix.data,
        "timestamps": interactions.timestamps,
        "fractions": interactions.fractions,
        "positions": interactions.positions,
        "user_weights": interactions.user_weights,
    }
    written = {}
    for name, array in arrays.items():
        if array is not None:
            save_array(folder / part / f"{name}.npy", array, _DTYPES[name])
            written[name] = {"dtype": _DTYPES[name], "shape": list(array.shape)}
    return {
        "users": interactions.num_users,
        "items": interactions.num_items,
        "entries": interactions.num_entries,
        "arrays": written,
        "counts": interactions.counts,
    }


def _read_part(
    manifest: dict[str, Any],
    folder: Path,
    part: str,
    users: Vocabulary,
    items: Vocabulary,
    mmap: bool,
) -> Interactions:
    record, shape, arrays = _read_arrays(manifest, folder, part, mmap)
    indptr, indices, data = (arrays[n] for n in ("indptr", "indices", "data"))
    if (
        shape != (len(users), len(items))
        or len(indptr) != shape[0] + 1
        or (indptr[0], indptr[-1]) != (0, len(data))
        or len(indices) != len(data)
    ):
        raise DamagedFileError(
            f"The arrays in {folder / part} do not fit together: {shape[0]} users, "
            f"{shape[1]} items, {len(users)} and {len(items)} ids, {len(indices)} "
            f"indices, {len(data)} values. Prepare the data again."
        )
    try:
        return Interactions(
            csr_over(data, indices, indptr, shape),
            users,
            items,
            timestamps=arrays.get("timestamps"),
            fractions=arrays.get("fractions"),
            positions=arrays.get("positions"),
            user_weights=arrays.get("user_weights"),
            counts=record.get("counts", {}),
        )
    except ValueError as error:
        raise DamagedFileError(f"{folder / part} is damaged: {error}") from None


def _read_arrays(
    manifest: dict[str, Any], folder: Path, part: str, mmap: bool
) -> tuple[dict[str, Any], tuple[int, int], dict[str, np.ndarray]]:
    """A part's record in the manifest, its users and items, and its arrays."""
    try:
        record = manifest["parts"][part]
        shape = (int(record["users"]), int(record["items"]))
        arrays = {
            name: _read_array(folder / part / f"{name}.npy", expected, mmap)
            for name, expected in record["arrays"].items()
        }
        missing = [n for n in ("indptr", "indices", "data") if n not in arrays]
        if missing:
            raise KeyError(*missing)
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(
            f"The manifest in {folder} does not describe the part {part!r} "
            f"({error!r}); it is damaged."
        ) from None
    return record, shape, arrays


def _read_array(path: Path, expected: dict[str, Any], mmap: bool) -> np.ndarray:
    try:
        array = map_array(path) if mmap else np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DamagedFileError(f"The file {path} is missing.") from None
    except (ValueError, EOFError, OSError) as error:
        raise DamagedFileError(
            f"{path} is truncated or no .npy array ({error}). Prepare the data again."
        ) from None
    found = {"dtype": array.dtype.str, "shape": list(array.shape)}
    if found != expected:
        raise DamagedFileError(
            f"{path} holds {found}, while the manifest says {expected}. The folder is "
            "damaged or mixed from two: prepare the data again."
        )
    return array


def _read_manifest(folder: Path, name: str) -> dict[str, Any]:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    manifest = read_format(folder / "manifest.json", name, VERSION)
    if not isinstance(manifest.get("parts"), dict):
        raise DamagedFileError(f"The manifest in {folder} lists no parts.")
    return manifest


def _titles_in_order(titles: dict[Any, str], items: Vocabulary) -> list[str | None]:
    ordered = [titles.get(raw_id) for raw_id in items.ids.tolist()]
    if titles and not any(title is not None for title in ordered):
        raise ValueError(
            f"None of the {len(titles)} titles belongs to an item. Titles go by raw "
            f"item id, here of type {items.kind}; received ids like "
            f"{next(iter(titles))!r}."
        )
    return ordered


def _read_titles(folder: Path, items: Vocabulary) -> dict[int | str, str]:
    path = folder / "titles.json"
    content = read_format(path, TITLES, VERSION)
    titles = content.get("titles")
    if not isinstance(titles, list) or len(titles) != len(items):
        raise DamagedFileError(
            f"{path} must hold one title, or null, for each of {len(items)} items."
        )
    return {
        raw_id: title
        for raw_id, title in zip(items.ids.tolist(), titles, strict=True)
        if title is not None
    }
