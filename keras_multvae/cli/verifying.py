"""The command `verify`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_multvae import Recommender
from keras_multvae.cli.output import print_result
from keras_multvae.cluster import job
from keras_multvae.data import load_interactions, load_prepared, prepared
from keras_multvae.features import storage as features_folder
from keras_multvae.files import (
    DamagedFileError,
    check_files,
    existing_folder,
    open_regular,
    read_format,
    read_json,
)
from keras_multvae.recommender import storage
from keras_multvae.serving import whole
from keras_multvae.training import checkpoint
from keras_multvae.tuning import folder as tuning

MANIFEST = "manifest.json"
# For each format its name, the latest readable version, and a further check.
KINDS: dict[str, tuple[str, int, Callable[[Path], object] | None]] = {
    prepared.PREPARED: ("prepared folder", prepared.VERSION, load_prepared),
    prepared.INTERACTIONS: ("interactions folder", prepared.VERSION, load_interactions),
    features_folder.FORMAT: ("features folder", features_folder.VERSION, None),
    storage.FORMAT: ("recommender", storage.VERSION, Recommender.load),
    job.FORMAT: ("recommendations", job.VERSION, None),
    checkpoint.FORMAT: (
        "training state",
        checkpoint.VERSION,
        lambda saved: read_format(
            saved.parent / checkpoint.RECIPE, checkpoint.FORMAT, checkpoint.VERSION
        ),
    ),
}


def verify(arguments: argparse.Namespace) -> None:
    """Folder -> a line for each folder of ours in it, or the first damaged file."""
    folder = existing_folder(Path(arguments.folder))
    found = list(folders_in(folder))
    if not found:
        raise DamagedFileError(
            f"{folder} is no folder of this package: it has none of {MANIFEST}, "
            f"{storage.METADATA}, {tuning.STUDY} and {whole.FILES}."
        )
    for each in found:
        line = checked(*each)
        print_result({}, line, False)


def folders_in(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yields folders of our formats in a folder (and itself), with their manifests."""
    if (folder / storage.METADATA).is_file():
        yield folder, folder / storage.METADATA
    elif (folder / MANIFEST).is_file():
        yield folder, folder / MANIFEST
    elif (folder / whole.FILES).is_file():
        yield folder, folder / whole.FILES
    else:
        if (folder / tuning.STUDY).is_file():
            yield folder, folder / tuning.STUDY
        # A study, a training or the versions of a model.
        for each in sorted(folder.iterdir()):
            if each.is_dir() and not each.name.startswith("."):
                yield from folders_in(each)


def checked(folder: Path, manifest: Path) -> str:
    """A message on a folder that is not damaged.

    Raises:
        DamagedFileError: A file is damaged.
    """
    if manifest.name == tuning.STUDY:
        return _study(folder)
    if manifest == folder / whole.FILES:
        return _exported(folder)
    content = read_json(manifest)
    name = content.get("format") if isinstance(content, dict) else None
    if name not in KINDS:
        raise DamagedFileError(f"{manifest} is of no format that is known: {name!r}.")
    kind, version, load = KINDS[name]
    listed = read_format(manifest, name, version)
    check_files(folder, listed)
    if load is not None:
        load(folder)
    files = listed.get("files")
    if files is None:
        return (
            f"{folder}: {kind} of an earlier version, without checksums. What can be "
            "read without them is in order."
        )
    size = sum(each["bytes"] for each in files.values())
    here = {
        each.relative_to(folder).as_posix()
        for each in folder.iterdir()
        if each.is_file() and each != manifest and not each.name.startswith(".")
    }
    beside = sorted(here - set(files))
    words = f" Not listed, and not looked at: {', '.join(beside)}." if beside else ""
    return f"{folder}: {kind}, {len(files)} files, {size:,} bytes, all whole.{words}"


def _exported(folder: Path) -> str:
    """A message on a version of an exported model."""
    whole.files_of(folder)
    try:
        whole.check_whole(folder)
    except ValueError as error:
        raise DamagedFileError(f"{folder} is damaged: {error}.") from None
    return f"{folder}: exported model, all files whole."


def _study(folder: Path) -> str:
    """A message on the files of a study, without its models and data."""
    study = tuning.StudyFolder.open(folder)
    chosen = study.linear
    lines = 0
    journal = folder / tuning.JOURNAL
    if journal.exists():
        with open_regular(journal) as file:
            lines = sum(1 for _ in file)
    return (
        f"{folder}: study of {', '.join(study.space.models)}, whole"
        f"{', with the settings of a linear path' if chosen else ''}; {lines} lines in "
        f"{tuning.JOURNAL}, which is Optuna's and has no checksums."
    )
