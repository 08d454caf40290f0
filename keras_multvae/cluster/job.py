"""Recommendation in shards: the job and its folder, without Ray."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from keras_multvae.data import (
    Interactions,
    Vocabulary,
    load_interactions,
    load_prepared,
)
from keras_multvae.data.prepared import INTERACTIONS
from keras_multvae.extras import import_extra
from keras_multvae.files import (
    DamagedFileError,
    check_files,
    check_replaceable,
    open_regular,
    read_format,
    read_json,
    write_json,
    write_manifest,
)
from keras_multvae.files.sums import MANIFEST, listed_files, sum_of
from keras_multvae.recommender import Recommender, storage
from keras_multvae.typing import Json

FORMAT = "keras_multvae.recommendations"
VERSION = 1
# The folder of sizes and checksums of parts, until the manifest has them.
SUMS = "sums"


@dataclass(frozen=True)
class Job:
    """The data that a worker needs to fill any shard.

    Args:
        model: Folder of a recommender.
        histories: Prepared folder, or folder of interactions.
        part: The part of a prepared folder.
        out: The folder to fill.
        shard_size: Users in a shard.
        options: Keyword arguments of `Recommender.recommend`.
    """

    model: Path
    histories: Path
    part: str
    out: Path
    shard_size: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def count_users(self) -> int:
        """The number of users; checks that histories and model have the same items.

        Raises:
            FileNotFoundError: There is no such folder.
            ValueError: No histories, or of other items.
        """
        if (
            self.histories == self.model / storage.HISTORIES
            and not self.histories.is_dir()
        ):
            raise ValueError(
                f"The recommender in {self.model} keeps no histories. Name a folder "
                "that prepare wrote, or files of events."
            )
        histories = load_histories(self.histories, self.part)
        if histories.items != Vocabulary.load(self.model / storage.ITEMS):
            raise ValueError(
                f"{self.model} was trained on other items than those of "
                f"{self.histories}."
            )
        return histories.num_users

    def shards(self, num_users: int) -> range:
        """The numbers of all shards."""
        return range(-(-num_users // self.shard_size))

    def users(self, shard: int, num_users: int) -> range:
        """The rows of a shard."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, num_users))

    def path(self, shard: int) -> Path:
        """The Parquet file of a shard."""
        return self.out / "parts" / f"part-{shard:05}.parquet"

    def fill(self, shard: int) -> None:
        """Ranks items for the users of a shard, and writes its file atomically.

        Raises:
            DamagedFileError: The file does not hold what was written.
            FileExistsError: The folder now belongs to another job.
        """
        self._check_manifest()
        digests = (self._model_digest, self._histories_digest)
        model, histories = _loaded(self.model, self.histories, self.part, digests)
        users = self.users(shard, histories.num_users)
        chosen = histories.select_users(np.array(users))
        recommender = Recommender(model.model, model.items, histories=chosen)
        path = self.path(shard)
        recommender.recommend_to_parquet(path, **self.options)
        check_part(path, chosen.users, model.items, self.options.get("k", 10))
        # A job that was started meanwhile must not take this part for its own.
        self._check_manifest()
        self._sum_of(shard).parent.mkdir(exist_ok=True)
        write_json(self._sum_of(shard), sum_of(path))

    def start(self, num_users: int) -> list[int]:
        """Makes the folder, or resumes one of the same job.

        Returns:
            The shards whose file is missing or damaged.

        Raises:
            FileExistsError: The folder holds something else, or parts of another job.
        """
        path = self.out / MANIFEST
        found = None
        if path.exists() and any((self.out / "parts").glob("part-*")):
            found = self._check_manifest(num_users)
        else:
            check_replaceable(self.out, path.name, FORMAT, VERSION)
        shards = self.shards(num_users)
        missing = [i for i in shards if not self._is_whole(i, found or {})]
        if found is None or missing or not found.get("complete"):
            # First, so that every part has a manifest of its job.
            write_manifest(path, {**self._manifest(num_users), "complete": False}, {})
        return missing

    def finish(self, num_users: int) -> None:
        """Verifies all parts by their checksums, and completes the manifest.

        Raises:
            DamagedFileError: A part is missing or is not what was written.
        """
        path = self.out / MANIFEST
        found = read_format(path, FORMAT, VERSION)
        if found.get("complete"):
            return
        # Remove files that killed workers have left.
        for unfinished in (self.out / "parts").glob(".part-*"):
            unfinished.unlink(missing_ok=True)
        files: dict[str, Json] = {}
        for shard in self.shards(num_users):
            listed = read_json(self._sum_of(shard))
            name = self.path(shard).relative_to(self.out).as_posix()
            files |= listed_files(self.out, {"files": {name: listed}})
        check_files(self.out, {"files": files})
        write_manifest(path, {**self._manifest(num_users), "complete": True}, files)
        shutil.rmtree(self.out / SUMS)

    def _is_whole(self, shard: int, manifest: Json) -> bool:
        """Whether a part is there and not damaged; removes a damaged one."""
        path = self.path(shard)
        if not path.exists():
            return False
        name = path.relative_to(self.out).as_posix()
        try:
            listed = listed_files(self.out, manifest).get(name)
            if listed is None and self._sum_of(shard).exists():
                # The job is not complete; the worker wrote the checksum to a file.
                listed = read_json(self._sum_of(shard))
            elif listed is None:
                # Written by an earlier version, or by a worker that was killed.
                self._check_part(shard)
                listed = sum_of(path)
            check_files(self.out, {"files": {name: listed}})
        except DamagedFileError:
            path.unlink()
            return False
        if not self._sum_of(shard).exists():
            self._sum_of(shard).parent.mkdir(exist_ok=True)
            write_json(self._sum_of(shard), listed)
        return True

    def _check_part(self, shard: int) -> None:
        """Reads a shard's file, and checks its users, items and order."""
        users = self._all_users
        own = users.take(self.users(shard, len(users)))
        items = Vocabulary.load(self.model / storage.ITEMS)
        check_part(self.path(shard), own, items, self.options.get("k", 10))

    @cached_property
    def _all_users(self) -> Vocabulary:
        return load_histories(self.histories, self.part).users

    def _sum_of(self, shard: int) -> Path:
        """The file with the size and checksum of a shard, until the job is complete."""
        return self.out / SUMS / f"part-{shard:05}.json"

    def _manifest(self, num_users: int) -> Json:
        """The manifest of the job: what it ranks, for whom, and how."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self._model_digest,
            "histories": self._histories_digest,
            "users": num_users,
            "shard_size": self.shard_size,
            "options": dict(self.options),
        }

    def _check_manifest(self, num_users: int | None = None) -> Json:
        """The folder's manifest, or `FileExistsError` if it is of another job."""
        found = read_format(self.out / MANIFEST, FORMAT, VERSION)
        users = found.get("users") if num_users is None else num_users
        manifest = self._manifest(users)  # type: ignore[arg-type]
        differ = [name for name in manifest if found.get(name) != manifest[name]]
        if differ:
            raise FileExistsError(
                f"{self.out} holds recommendations of another job: "
                + "; ".join(
                    f"{name} is {found.get(name)!r} there and {manifest[name]!r} here"
                    for name in differ
                )
                + ". Name another folder, or remove that one."
            )
        return found

    # These are added to the job by `start`.
    @cached_property
    def _model_digest(self) -> str:
        """SHA-256 of the model, so that another one does not resume the job."""
        return _digest(*storage.identity(self.model))

    @cached_property
    def _histories_digest(self) -> str:
        part = self.histories / self.part
        folder = part if part.is_dir() else self.histories
        arrays = sorted(folder.rglob("*.npy"))
        return _digest(self.histories / "items.json", folder / "users.json", *arrays)


def check_part(path: Path, users: Vocabulary, items: Vocabulary, k: int) -> None:
    """Reads a part, and checks its columns, users, items and order.

    Raises:
        DamagedFileError: It is no Parquet file, or not of these users and items.
    """
    parquet = import_extra("pyarrow.parquet", "ray")
    try:
        table = parquet.read_table(path)
        if table.column_names != ["user_id", "rank", "item_id", "score"]:
            raise ValueError(f"its columns are {table.column_names}")
        columns = [table[name].to_numpy() for name in table.column_names]
        row, rank, item = users.lookup(columns[0]), columns[1], columns[2]
        first = np.append(True, row[1:] != row[:-1])[: len(row)]
        follows = rank[1:] == rank[:-1] + 1
        if (
            (row < 0).any()
            or (np.diff(row) < 0).any()
            or (rank[first] != 1).any()
            or not (follows | first[1:]).all()
            or rank.max(initial=0) > k
            or (items.lookup(item) < 0).any()
            or not np.isfinite(columns[3]).all()
        ):
            raise ValueError("its rows are not those of its users")
    # For a damaged file, the reader may raise any error.
    except Exception as error:
        raise DamagedFileError(f"{path} is damaged: {error}.") from None


def load_histories(folder: Path, part: str) -> Interactions:
    """The histories of a part of a prepared folder, or a folder of interactions."""
    manifest = folder / "manifest.json"
    if folder.is_dir():
        content = read_json(manifest)
        if isinstance(content, dict) and content.get("format") == INTERACTIONS:
            return load_interactions(folder)
    found = getattr(load_prepared(folder).split, part)
    if found is None:
        raise ValueError(f"{folder} has no {part} users.")
    return getattr(found, "input", found)


@lru_cache(maxsize=1)
def _loaded(
    model: Path, histories: Path, part: str, digests: tuple[str, str]
) -> tuple[Recommender, Interactions]:
    """Cached in a worker process from shard to shard.

    `digests` prevent reuse for another model in the same folder.
    """
    return Recommender.load(model), load_histories(histories, part)


def _digest(*files: Path) -> str:
    """SHA-256 of the concatenated contents of files."""
    total = hashlib.sha256()
    for path in files:
        with open_regular(path) as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
