"""The prepared folder and the interactions folder, as docs/format.md specifies them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_multvae.data.columns.csr import csr_over
from keras_multvae.data.columns.stored import DTYPES, read_arrays, save_array
from keras_multvae.data.interactions import Interactions
from keras_multvae.data.splits.base import FoldIn, Split
from keras_multvae.data.vocabulary import Vocabulary
from keras_multvae.features import ItemFeatures
from keras_multvae.features import storage as features_folder
from keras_multvae.files import (
    DamagedFileError,
    check_files,
    check_replaceable,
    existing_folder,
    read_format,
    replace_folder,
    write_json,
    write_manifest,
)
from keras_multvae.tables import ShowsTable, Table
from keras_multvae.typing import Json, Titles

PREPARED = "keras_multvae.prepared"
INTERACTIONS = "keras_multvae.interactions"
TITLES = "keras_multvae.titles"
VERSION = 1


@dataclass(frozen=True, eq=False)
class Prepared(ShowsTable):
    """What a prepared folder holds.

    Args:
        split: The training, validation and test parts.
        titles: Title by raw item id, for items that have one.
        manifest: The folder's manifest: settings, counts, arrays.
        features: The items' features, in the order of the items, if there are any.
    """

    split: Split
    titles: dict[int | str, str]
    manifest: Json
    features: ItemFeatures | None = None

    def __repr__(self) -> str:
        return (
            f"Prepared({self.split}, titles of {len(self.titles)} items, "
            f"features={self.features})"
        )

    def _table(self) -> Table:
        """The table of the split, and what is known of its items."""
        described = "no features" if self.features is None else str(self.features)
        note = f"Titles of {len(self.titles):,} items; {described}"
        return replace(self.split._table(), note=note)


def save_prepared(
    split: Split,
    folder: str | os.PathLike[str],
    titles: Titles | None = None,
    settings: Json | None = None,
    features: ItemFeatures | None = None,
) -> None:
    """Writes a split as a prepared folder, completely or not at all.

    The same split gives the same bytes. An older prepared folder of that name is
    replaced at the end; any other content is not touched.

    Args:
        split: What to write.
        folder: The folder to make.
        titles: Optional title by raw item id; those of other items are left out.
        settings: Optional, how the interactions were read; kept in the manifest. Must
            be representable as JSON.
        features: Optional `ItemFeatures` of the split's items, in their order.

    Raises:
        FileExistsError: `folder` holds something else.
        ValueError: `titles` has no title for any item, or features of other items.

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
    check_features(features, len(items))
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
        if features is not None:
            features_folder.write(features, temporary / features_folder.FOLDER)
        # Last, as a folder without it is no prepared folder.
        write_manifest(
            temporary / "manifest.json",
            {
                "format": PREPARED,
                "version": VERSION,
                "settings": settings or {},
                "split": split.settings,
                "parts": parts,
                "titles": title_list is not None,
                # Only where there are: a reader of before knows no such key.
                **({} if features is None else {"features": True}),
            },
        )


def load_prepared(folder: str | os.PathLike[str], mmap: bool = True) -> Prepared:
    """Verifies and reads a prepared folder.

    Args:
        folder: A folder that `save_prepared` wrote.
        mmap: Bool, whether arrays stay on disk, memory-mapped and read-only, so that
            the interactions need not fit in memory.

    Returns:
        The split, the titles and the manifest.

    Raises:
        FileNotFoundError: There is no such folder.
        DamagedFileError: A foreign, damaged or newer folder; it names the file.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder, PREPARED)
    held_out = [n for n in ("validation", "test") if f"{n}/input" in manifest["parts"]]
    users = {name: f"{name}/users.json" for name in ("train", *held_out)}
    has_titles = ["titles.json"] if manifest.get("titles") else []
    check_files(folder, manifest, ["items.json", *has_titles, *users.values()])
    items = Vocabulary.load(folder / "items.json")
    rows = {name: Vocabulary.load(folder / file) for name, file in users.items()}
    sides = [f"{name}/{side}" for name in held_out for side in ("input", "targets")]
    arrays = read_arrays(manifest, folder, ["train", *sides], mmap)

    def read(part: str) -> Interactions:
        ids = rows[part.partition("/")[0]]
        return _interactions(manifest, folder, part, arrays[part], ids, items)

    def fold_in(name: str) -> FoldIn | None:
        if name not in held_out:
            return None
        return FoldIn(read(f"{name}/input"), read(f"{name}/targets"))

    settings = _as_dict(manifest.get("split", {}), folder, "split")
    _as_dict(manifest.get("settings", {}), folder, "settings")
    split = Split(read("train"), fold_in("validation"), fold_in("test"), settings)
    titles = _read_titles(folder, items) if has_titles else {}
    features = None
    if manifest.get("features"):
        features = features_folder.read(folder / features_folder.FOLDER, len(items))
    return Prepared(split, titles, manifest, features)


def check_features(features: ItemFeatures | None, num_items: int) -> None:
    """Raises ValueError for features of another number of items than there are."""
    if features is not None and features.num_items != num_items:
        raise ValueError(
            f"`features` must be of the {num_items} items, in their order. Received: "
            f"{features}."
        )


def save_interactions(
    interactions: Interactions, folder: str | os.PathLike[str]
) -> None:
    """Writes interactions as one folder, completely or not at all.

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
        write_manifest(
            temporary / "manifest.json",
            {"format": INTERACTIONS, "version": VERSION, "parts": {"": part}},
        )


def load_interactions(
    folder: str | os.PathLike[str], mmap: bool = True
) -> Interactions:
    """Verifies and reads a folder that `save_interactions` wrote.

    Args:
        folder: The folder.
        mmap: Bool, whether arrays stay on disk, memory-mapped and read-only.

    Returns:
        The interactions.

    Raises:
        FileNotFoundError: There is no such folder.
        DamagedFileError: A foreign, damaged or newer folder; it names the file.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder, INTERACTIONS)
    check_files(folder, manifest, ["users.json", "items.json"])
    users = Vocabulary.load(folder / "users.json")
    items = Vocabulary.load(folder / "items.json")
    arrays = read_arrays(manifest, folder, [""], mmap)[""]
    return _interactions(manifest, folder, "", arrays, users, items)


def _write_part(interactions: Interactions, folder: Path, part: str) -> Json:
    """Writes the arrays of a part; returns its record for the manifest."""
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
            save_array(folder / part / f"{name}.npy", array, DTYPES[name])
            written[name] = {"dtype": DTYPES[name], "shape": list(array.shape)}
    return {
        "users": interactions.num_users,
        "items": interactions.num_items,
        "entries": interactions.num_entries,
        "arrays": written,
        "counts": interactions.counts,
    }


def _interactions(
    manifest: Json,
    folder: Path,
    part: str,
    arrays: dict[str, np.ndarray],
    users: Vocabulary,
    items: Vocabulary,
) -> Interactions:
    """Interactions from verified arrays; checks that they fit together."""
    record = manifest["parts"][part]
    shape = (record["users"], record["items"])
    indptr, indices, data = (arrays[n] for n in ("indptr", "indices", "data"))
    if shape != (len(users), len(items)):
        raise DamagedFileError(
            f"The arrays in {folder / part} do not fit together with the ids: "
            f"{shape[0]} users, {shape[1]} items, {len(users)} and {len(items)} ids. "
            "Prepare the data again."
        )
    counts = _as_dict(record.get("counts", {}), folder, "counts")
    try:
        return Interactions(
            csr_over(data, indices, indptr, shape),
            users,
            items,
            timestamps=arrays.get("timestamps"),
            fractions=arrays.get("fractions"),
            positions=arrays.get("positions"),
            user_weights=arrays.get("user_weights"),
            counts=counts,
        )
    except ValueError as error:
        raise DamagedFileError(f"{folder / part} is damaged: {error}") from None


def _as_dict(value: object, folder: Path, name: str) -> Json:
    if not isinstance(value, dict):
        raise DamagedFileError(
            f"{name!r} in the manifest of {folder} must be an object. Received: "
            f"{value!r}. It is damaged."
        )
    return value


def _read_manifest(folder: Path, name: str) -> Json:
    manifest = read_format(existing_folder(folder) / "manifest.json", name, VERSION)
    if not isinstance(manifest.get("parts"), dict):
        raise DamagedFileError(f"The manifest in {folder} lists no parts.")
    return manifest


def _titles_in_order(titles: Titles, items: Vocabulary) -> list[str | None]:
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
    if (
        not isinstance(titles, list)
        or len(titles) != len(items)
        or not all(title is None or isinstance(title, str) for title in titles)
    ):
        raise DamagedFileError(
            f"{path} must hold one title, or null, for each of {len(items)} items."
        )
    return {
        raw_id: title
        for raw_id, title in zip(items.ids.tolist(), titles, strict=True)
        if title is not None
    }
