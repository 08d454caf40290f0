"""Checksums: a manifest lists its folder's files, and has a checksum of itself.

`"sha256"` of a manifest is the SHA-256 of its bytes with 64 zeros in its place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from keras_multvae.files.reading import ZEROS, DamagedFileError, open_regular
from keras_multvae.files.replacing import as_text, replace_file
from keras_multvae.typing import Json

# The manifest of a folder of ours; it lists the other files of the folder.
MANIFEST = "manifest.json"


def write_manifest(
    path: Path, content: Json, files: dict[str, Json] | None = None
) -> None:
    """Writes the manifest of a folder, with checksums of its files and of itself.

    Args:
        path: The manifest's file; the files to list must exist already.
        content: The other content of the manifest.
        files: The result of `sums_of`; by default for all files in the folder.

    Example:

    >>> import json, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("a")
    >>> write_manifest(folder / "manifest.json", {"format": "mine"})
    >>> list(json.loads((folder / "manifest.json").read_text())["files"])
    ['a.txt']
    """
    found = sums_of(path.parent, {path.name}) if files is None else files
    text = as_text({**content, "files": found, "sha256": ZEROS})
    total = hashlib.sha256(text.encode()).hexdigest()
    with replace_file(path) as temporary:
        head, _, tail = text.rpartition(ZEROS)
        temporary.write_text(head + total + tail, encoding="utf-8")


def sums_of(folder: Path, but: Iterable[str] = ()) -> dict[str, Json]:
    """Size and SHA-256 of each file in a folder, by its path there.

    Of a subfolder with its own manifest, only this manifest is listed.
    """
    left_out = set(but)
    names = [
        name
        for path in sorted(folder.rglob("*"))
        for name in [path.relative_to(folder).as_posix()]
        if path.is_file() and name not in left_out and not _is_listed(folder, path)
    ]
    with ThreadPoolExecutor(_threads()) as threads:
        found = threads.map(lambda name: sum_of(folder / name), names)
        return dict(zip(names, found, strict=True))


def check_files(
    folder: Path,
    manifest: Json,
    names: Iterable[str] | None = None,
) -> None:
    """Checks files of a folder against the checksums in its manifest.

    Args:
        folder: The folder.
        manifest: The content of its manifest. Manifests of earlier versions have no
            checksums, and then nothing is checked.
        names: Paths in the folder, by default all listed ones; others are ignored.

    Raises:
        DamagedFileError: A file is missing or differs; it names the file.
    """
    listed = listed_files(folder, manifest)
    wanted = list(listed) if names is None else [n for n in names if n in listed]
    with ThreadPoolExecutor(_threads()) as threads:
        # Report the first damaged file in the manifest's order.
        for _ in threads.map(lambda n: check_file(folder / n, listed[n]), wanted):
            pass


def check_file(path: Path, expected: Json) -> None:
    """Checks a file against its size and checksum."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == expected["bytes"]:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    if size != expected["bytes"]:
        raise DamagedFileError(
            f"{path} is damaged: it has {size} bytes, where {expected['bytes']} were "
            "written. Restore it from a copy, or make the folder anew."
        )
    check_sum(path, found, expected)


def check_sum(path: Path, found: str, expected: Json) -> None:
    """Raises `DamagedFileError` for a file with another SHA-256."""
    if found != expected["sha256"]:
        raise DamagedFileError(
            f"{path} is damaged or was changed: its SHA-256 is {found}, where "
            f"{expected['sha256']} was written. Restore it from a copy, or make the "
            "folder anew."
        )


def listed_files(folder: Path, manifest: Json) -> dict[str, Json]:
    """The checksums in a manifest; refuses paths outside of its folder."""
    files = manifest.get("files", {})
    good = isinstance(files, dict) and all(
        isinstance(each, dict)
        and isinstance(each.get("bytes"), int)
        and isinstance(each.get("sha256"), str)
        and is_inside(name)
        for name, each in files.items()
    )
    if not good:
        raise DamagedFileError(
            f"The list of files in the manifest of {folder} is damaged: it must give "
            "bytes and sha256 by the path of a file in the folder."
        )
    return files


def is_inside(name: str) -> bool:
    """Whether a relative path stays inside its folder."""
    path = PurePosixPath(name)
    plain = "\\" not in name and "\0" not in name and ":" not in name
    return (
        plain and bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    )


def sum_of(path: Path) -> Json:
    """Size and SHA-256 of a file, as manifests have them."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": found}


def _is_listed(folder: Path, path: Path) -> bool:
    """Whether the manifest of a subfolder lists a file."""
    between = [each for each in path.parents if folder in each.parents]
    return any(
        (each / MANIFEST).is_file() and path != each / MANIFEST for each in between
    )


def _threads() -> int:
    return min(os.cpu_count() or 1, 4)
