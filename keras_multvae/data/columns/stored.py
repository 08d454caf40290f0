"""Arrays in a folder, written block by block and verified before use."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_multvae.data.columns.csr import LARGEST, SMALLEST
from keras_multvae.data.columns.mapped import keep_open, slices
from keras_multvae.files import DamagedFileError, open_regular
from keras_multvae.files.sums import check_sum, listed_files
from keras_multvae.typing import Json

DTYPES = {
    "indptr": "<i8",
    "indices": "<i4",
    "data": "<f4",
    "timestamps": "<i8",
    "fractions": "<i4",
    "positions": "<i8",
    "user_weights": "<f4",
}
_AGAIN = "Prepare the data again."


def save_array(path: Path, array: np.ndarray, dtype: str) -> None:
    """Writes a 1-D array as `np.save` does, block by block."""
    header = {"descr": dtype, "fortran_order": False, "shape": array.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in slices(array):
            file.write(np.ascontiguousarray(part, dtype).data)


def read_arrays(
    manifest: Json, folder: Path, parts: list[str], mmap: bool
) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of parts by name, each read once and verified, several at a time.

    Args:
        manifest: The manifest of the folder.
        folder: The folder.
        parts: Subfolders to read.
        mmap: Bool, whether arrays stay on disk; `indptr` never does.

    Raises:
        DamagedFileError: Anything that docs/format.md forbids; it names the file.
    """
    listed = listed_files(folder, manifest)
    found: dict[str, dict[str, np.ndarray]] = {}
    waiting = []
    for part in parts:
        record = _record(manifest, folder, part)
        # indptr comes first, as others are checked against it; it stays in memory.
        found[part] = arrays = {}
        for name, expected in record["arrays"].items():
            path = folder / part / f"{name}.npy"
            arrays[name] = open_array(path, expected, mmap and name != "indptr")
        _check_lengths(folder / part, record, arrays)
        for name, array in arrays.items():
            file = (Path(part) / f"{name}.npy").as_posix()
            rows, items = arrays["indptr"], record["items"]
            task = (folder / file, array, rows, items, listed.get(file))
            if name == "indptr":
                verify_array(*task)
                _check_entries(folder / file, array, record["entries"])
            else:
                waiting.append(task)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as threads:
        for _ in threads.map(lambda task: verify_array(*task), waiting):
            pass
    return found


def _record(manifest: Json, folder: Path, part: str) -> Json:
    """The manifest's record of a part, without unknown arrays."""
    try:
        record = manifest["parts"][part]
        arrays = record["arrays"]
        sizes = [record[name] for name in ("users", "items", "entries")]
        good = all(type(size) is int and size >= 0 for size in sizes)
        # Names become parts of paths.
        good = good and all(re.fullmatch("[a-z][a-z_]*", name) for name in arrays)
        known = {n: dict(arrays[n]) for n in DTYPES if n in arrays}
        good = good and all(known[n]["dtype"] == DTYPES[n] for n in known)
        missing = [n for n in ("indptr", "indices", "data") if n not in known]
        if missing or not good:
            raise ValueError(f"{missing} missing" if missing else repr(arrays))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedFileError(
            f"The manifest in {folder} does not describe the part {part!r} "
            f"({error!r}); it is damaged."
        ) from None
    return {**record, "arrays": known}


def _check_lengths(folder: Path, record: Json, arrays: dict[str, np.ndarray]) -> None:
    """Raises `DamagedFileError` unless arrays of a part fit together."""
    users, entries = record["users"], record["entries"]
    sizes = {"indptr": users + 1, "user_weights": users}
    wrong = {
        f"{name}.npy": len(array)
        for name, array in arrays.items()
        if len(array) != sizes.get(name, entries)
    }
    if wrong:
        raise DamagedFileError(
            f"The arrays in {folder} do not fit together: {users} users, {entries} "
            f"entries, other lengths of {wrong}. {_AGAIN}"
        )


def _check_entries(path: Path, indptr: np.ndarray, entries: int) -> None:
    if indptr[-1] != entries:
        raise DamagedFileError(
            f"{path} does not fit together with the manifest: it ends with "
            f"{indptr[-1]}, where there are {entries} entries. {_AGAIN}"
        )


def open_array(path: Path, expected: Json, mmap: bool) -> np.ndarray:
    """An array of a folder, mapped and read-only, or in memory.

    Args:
        path: The `.npy` file.
        expected: `dtype` and `shape`, as the manifest has them.
        mmap: Bool, whether it stays on disk; its file then stays open for `take_runs`.

    Raises:
        DamagedFileError: No such file, or its header or size is not as expected.
    """
    file = open_regular(path)
    try:
        dtype, shape = _header(file)
    # However malformed a header is, it is a damaged file.
    except Exception as error:
        file.close()
        raise DamagedFileError(
            f"{path} is truncated or no .npy array ({error}). {_AGAIN}"
        ) from None
    found = {"dtype": dtype.str, "shape": list(shape)}
    if found != expected:
        file.close()
        raise DamagedFileError(
            f"{path} holds {found}, while the manifest says {expected}. The folder is "
            "damaged or mixed from two: prepare the data again."
        )
    offset, size = file.tell(), os.fstat(file.fileno()).st_size
    if size != offset + shape[0] * dtype.itemsize:
        file.close()
        raise DamagedFileError(
            f"{path} is truncated or has grown: {size} bytes, where the array takes "
            f"{offset + shape[0] * dtype.itemsize}. {_AGAIN}"
        )
    if mmap and shape[0]:
        mapped: Any = np.memmap(file, dtype, mode="r", offset=offset, shape=shape)
        return keep_open(mapped, file, offset)
    with file:
        array = np.fromfile(file, dtype, shape[0])
    if len(array) != shape[0]:
        raise DamagedFileError(f"{path} became shorter while it was read. {_AGAIN}")
    return array


def _header(file: BinaryIO) -> tuple[np.dtype, tuple[int]]:
    """Dtype and shape of a `.npy` file of format 1.0, one-dimensional, not pickled."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"format {version} in place of (1, 0)")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("Python objects in it")
    if len(shape) != 1 or shape[0] < 0:
        raise ValueError(f"shape {shape}")
    return dtype, shape


def verify_array(
    path: Path,
    array: np.ndarray,
    rows: np.ndarray,
    num_columns: int,
    listed: Json | None,
) -> None:
    """Reads an array once, and checks it against docs/format.md and its checksum.

    Args:
        path: Its file, whose name determines the checks.
        array: The result of `open_array`.
        rows: (rows + 1,) int64 `indptr`, verified.
        num_columns: Columns of the matrix.
        listed: Optional, the size and SHA-256 in the manifest.

    Raises:
        DamagedFileError: Forbidden values, or another checksum.
    """
    total = None if listed is None else hashlib.sha256(_head_of(path, array))
    pieces = slices(array) if total is None else _noted(array, total)
    try:
        check = _CHECKS.get(path.stem, _any)
        check(pieces, rows, num_columns)
    except ValueError as error:
        raise DamagedFileError(
            f"{path} is damaged: {error}. Restore it from a copy, or prepare the data "
            "again."
        ) from None
    if listed is not None and total is not None:
        check_sum(path, total.hexdigest(), listed)


def _head_of(path: Path, array: np.ndarray) -> bytes:
    """The bytes before the array."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        return file.read(size - array.nbytes)


def _noted(array: np.ndarray, total: Any) -> Iterator[np.ndarray]:
    """Yields an array in blocks, and adds each to a checksum."""
    for part in slices(array):
        total.update(part.data)
        yield part


def _any(pieces: Iterator[np.ndarray], rows: np.ndarray, columns: int) -> None:
    """Accepts any times; they are read for the checksum only."""
    for _ in pieces:
        pass


def _check_rows(pieces: Iterator[np.ndarray], rows: np.ndarray, columns: int) -> None:
    """Of `indptr`: `rows` is what `indices` and the others have, so it is compared."""
    before = 0
    for part in pieces:
        if part[0] < before or (part[1:] < part[:-1]).any():
            raise ValueError("`indptr` falls")
        before = part[-1]
    if rows[0] != 0:
        raise ValueError(f"`indptr` begins with {rows[0]}, not with 0")


def _check_indices(
    pieces: Iterator[np.ndarray], rows: np.ndarray, columns: int
) -> None:
    start, before = 0, -1
    for part in pieces:
        # As unsigned numbers, so that one comparison finds negative ones too.
        if part.view("uint32").max() >= columns:
            bad = part[part.view("uint32") >= columns][0]
            raise ValueError(f"item index {bad} is not in 0..{columns - 1}")
        falls = np.flatnonzero(part[1:] <= part[:-1]) + 1
        if part[0] <= before:
            falls = np.append(0, falls)
        falls += start
        # Indices may fall where a user begins.
        if not (rows[np.searchsorted(rows, falls)] == falls).all():
            raise ValueError("a user's item indices do not rise")
        start, before = start + len(part), part[-1]


def _check_values(pieces: Iterator[np.ndarray], rows: np.ndarray, columns: int) -> None:
    for part in pieces:
        # Also catches NaN.
        good = part.min() >= SMALLEST and part.max() <= LARGEST
        if not good:
            bad = part[~((part >= SMALLEST) & (part <= LARGEST))][0]
            raise ValueError(f"value {bad} is not in {SMALLEST:g}..{LARGEST:g}")


def _check_fractions(
    pieces: Iterator[np.ndarray], rows: np.ndarray, columns: int
) -> None:
    for part in pieces:
        if part.min() < 0 or part.max() > 999_999_999:
            raise ValueError("nanoseconds are not in 0..999999999")


def _check_positions(
    pieces: Iterator[np.ndarray], rows: np.ndarray, columns: int
) -> None:
    for part in pieces:
        if part.min() < 0:
            raise ValueError("a position is below 0")


def _check_weights(
    pieces: Iterator[np.ndarray], rows: np.ndarray, columns: int
) -> None:
    for part in pieces:
        if not (part.min() >= 0 and np.isfinite(part.max())):
            raise ValueError("`user_weights` must be finite and >= 0")


_CHECKS = {
    "indptr": _check_rows,
    "indices": _check_indices,
    "data": _check_values,
    "fractions": _check_fractions,
    "positions": _check_positions,
    "user_weights": _check_weights,
}
