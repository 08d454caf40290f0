"""Files that survive a kill: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class DamagedFileError(ValueError):
    """A file or folder of ours is missing a part, truncated, or not ours at all."""


@contextlib.contextmanager
def new_parents(path: Path) -> Iterator[None]:
    """Makes the folders above `path`, and removes them again on any error."""
    missing = [each for each in path.parents if not each.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for each in missing:
            # Somebody else may have put something there.
            with contextlib.suppress(OSError):
                each.rmdir()
        raise


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside `path` and renames it to `path` on success.

    On any error the temporary file goes and an older `path` stays as it was.
    """
    path = Path(path)
    with new_parents(path):
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o666 & ~_umask())  # mkstemp's are the owner's alone
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary folder beside `path` and renames it to `path` on success.

    An older folder is moved aside first and comes back if the rename fails, so
    there is never a half-written folder under the name `path`.
    """
    path = Path(path)
    with new_parents(path):
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary.chmod(0o777 & ~_umask())
        old = temporary.with_name(temporary.name + ".old")
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        finally:
            if old.exists() and not path.exists():
                old.rename(path)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as UTF-8 JSON, atomically."""
    with replace_file(path) as temporary:
        temporary.write_text(
            json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads JSON; a missing or broken file raises `DamagedFileError` with its name."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedFileError(f"The file {path} is missing.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedFileError(
            f"The file {path} is no valid JSON ({error}); it is truncated or was "
            "not written by keras_multvae."
        ) from None


def read_format(
    path: str | os.PathLike[str], name: str, version: int
) -> dict[str, Any]:
    """Reads JSON of our format `name`, up to `version`; else `DamagedFileError`."""
    content = read_json(path)
    found = content.get("format") if isinstance(content, dict) else None
    if found != name:
        raise DamagedFileError(
            f"{path} does not hold the format {name!r} (found: {found!r}); it was not "
            "written by keras_multvae, or is of another kind."
        )
    if not isinstance(content.get("version"), int) or content["version"] < 1:
        raise DamagedFileError(f"{path} carries no version number; it is damaged.")
    if content["version"] > version:
        raise DamagedFileError(
            f"{path} has version {content['version']} of {name!r}; this keras_multvae "
            f"reads up to version {version}. Install a newer keras_multvae."
        )
    return dict(content)


def check_replaceable(folder: Path, marker: str, name: str, version: int) -> None:
    """Raises `FileExistsError` unless `folder` is absent, empty or of our format.

    `marker` is the file in it that says the format.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        read_format(folder / marker, name, version)
    except (DamagedFileError, NotADirectoryError):
        raise FileExistsError(
            f"{folder} exists and is not a {name} folder of this version: it will not "
            "be replaced. Choose another name or remove it."
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
