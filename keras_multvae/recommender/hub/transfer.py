"""Uploading and downloading the folder of a recommender, through huggingface_hub.

What comes from the Hub may be anybody's. Only files that the folder's format knows are
fetched, by the names in its manifests, which must stay inside the folder; reading them
checks their checksums (`recommender/storage.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import ModuleType

from keras_multvae.extras import import_extra
from keras_multvae.files import DamagedFileError, read_json
from keras_multvae.files.sums import MANIFEST, listed_files
from keras_multvae.recommender import storage
from keras_multvae.recommender.address import Address
from keras_multvae.typing import Json

README = "README.md"
# The files of a recommender's folder; all others of a repository are left alone.
OURS = re.compile(
    r"(metadata|items|titles|recipe)\.json|model\.(keras|npz)|"
    r"(histories|features)/([\w-]+/)*[\w-]+\.(json|npy)",
    re.ASCII,
)
# What a repository may hold before the first recommender is saved there.
BEFORE = re.compile(r"\.gitattributes|README\.md|LICEN[CS]E(\.\w+)?")
LONGEST = 500  # letters of an error from elsewhere


class HubError(OSError):
    """The Hugging Face Hub could not be reached, or refused."""


def upload(address: Address, folder: Path, readme: Callable[[Json], str]) -> None:
    """Makes a repository hold a recommender, in one commit.

    Files of an earlier recommender that the new one has not are removed; they stay in
    the repository's history. Other files are left alone.

    Args:
        address: Where to; the repository and a branch are made if need be.
        folder: A recommender's folder.
        readme: Makes the model card from the metadata of an older one.

    Raises:
        HubError: The Hub could not be reached, or refused.
        FileExistsError: The repository holds something else.
    """
    hub = _hub()
    files = {
        each.relative_to(folder).as_posix(): each
        for each in sorted(folder.rglob("*"))
        if each.is_file()
    }
    with _told(hub, address, "saved"):
        api = hub.HfApi(library_name="keras_multvae")
        api.create_repo(address.repo, exist_ok=True)
        if address.revision is not None:
            api.create_branch(address.repo, branch=address.revision, exist_ok=True)
        info = api.repo_info(address.repo, revision=address.revision)
        there = {each.rfilename for each in info.siblings or ()}
        older = {
            name: Path(hub.hf_hub_download(address.repo, name, revision=info.sha))
            for name in (README, storage.METADATA)
            if name in there
        }
    _check_replaceable(address, there, older)
    metadata = hub.metadata_load(older[README]) if README in older else None
    card = readme(metadata or {})
    with _told(hub, address, "saved"):
        changes: list[object] = [
            hub.CommitOperationDelete(name)
            for name in sorted(there - files.keys())
            if OURS.fullmatch(name)
        ]
        changes += [hub.CommitOperationAdd(name, each) for name, each in files.items()]
        changes.append(hub.CommitOperationAdd(README, card.encode()))
        api.create_commit(
            address.repo,
            changes,
            commit_message="A recommender of keras_multvae",
            revision=address.revision,
            # Two saves at a time must not be mixed.
            parent_commit=info.sha,
        )


def download(address: Address) -> Path:
    """A folder of huggingface_hub's cache with the files of a recommender.

    Without a connection, it is what was downloaded last.

    Raises:
        HubError: The Hub could not be reached, or refused.
        DamagedFileError: The repository holds no recommender, or lists files outside
            of its folder.
    """
    hub = _hub()

    def fetch(name: str, revision: str | None) -> Path:
        with _told(hub, address, "loaded"):
            return Path(hub.hf_hub_download(address.repo, name, revision=revision))

    marker = fetch(storage.METADATA, address.revision)
    # All files are of one commit, whatever is saved there meanwhile.
    folder, commit = marker.parent, marker.parent.name
    manifests = [storage.METADATA]
    for each in manifests:
        manifest = read_json(folder / each)
        if not isinstance(manifest, dict) or "files" not in manifest:
            raise DamagedFileError(
                f"{each} of {address} has no list of files with checksums: it holds no "
                "recommender, or one of an old version. Save it again."
            )
        for listed in listed_files(folder, manifest):
            name = (PurePosixPath(each).parent / listed).as_posix()
            if OURS.fullmatch(name):
                fetch(name, commit)
                manifests += [name] if name.endswith(f"/{MANIFEST}") else []
    return folder


def _check_replaceable(
    address: Address, there: set[str], older: dict[str, Path]
) -> None:
    """Raises `FileExistsError` unless a repository is new or holds a recommender."""
    good = storage.METADATA in older or all(map(BEFORE.fullmatch, there))
    if good and storage.METADATA in older:
        try:
            storage.model_name(older[storage.METADATA].parent)
        except DamagedFileError:
            good = False
    if not good:
        raise FileExistsError(
            f"{address} holds something else than a recommender, which will not be "
            "replaced. Choose another name."
        )


def _hub() -> ModuleType:
    return import_extra("huggingface_hub", "hub")


@contextmanager
def _told(hub: ModuleType, address: Address, done: str) -> Iterator[None]:
    """Turns any error into one line, without the token that was sent."""
    try:
        yield
    # Beside its own, huggingface_hub raises those of its HTTP client.
    except Exception as error:
        told = [str(each) for each in (error, error.__cause__) if each is not None]
        reason = " ".join(" ".join(told).split()) or type(error).__name__
        token = hub.get_token()
        if token:
            reason = reason.replace(token, "(token)")
        raise HubError(
            f"{address} could not be {done}: {reason[:LONGEST]} For what needs a "
            "login, run `hf auth login` or set HF_TOKEN."
        ) from None
