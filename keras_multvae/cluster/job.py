"""Recommendations in shards: the job, and the folder that it fills; without Ray."""

from __future__ import annotations

import hashlib
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
from keras_multvae.files import (
    check_replaceable,
    read_format,
    read_json,
    write_json,
)
from keras_multvae.recommender import Recommender, storage

FORMAT = "keras_multvae.recommendations"
VERSION = 1


@dataclass(frozen=True)
class Job:
    """What a worker must know to fill any of the shards.

    Args:
        model: Folder of a recommender.
        histories: Prepared folder, or folder of interactions.
        part: Which users of a prepared folder.
        out: The folder to fill.
        shard_size: Users a shard.
        options: Keyword arguments of `Recommender.recommend`.
    """

    model: Path
    histories: Path
    part: str
    out: Path
    shard_size: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def count_users(self) -> int:
        """Users in the histories, which must be over the model's items.

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
        """Ranks for the users of a shard and writes its file, all of it or nothing."""
        digests = (self._model_digest, self._histories_digest)
        model, histories = _loaded(self.model, self.histories, self.part, digests)
        users = self.users(shard, histories.num_users)
        recommender = Recommender(
            model.model, model.items, histories=histories.select_users(np.array(users))
        )
        recommender.recommend_to_parquet(self.path(shard), **self.options)

    def start(self, num_users: int) -> list[int]:
        """Makes the folder, or takes up one of the same job.

        Returns:
            The shards without a file.

        Raises:
            FileExistsError: The folder holds something else, or parts of another job.
        """
        path = self.out / "manifest.json"
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "model": self._model_digest,
            "histories": self._histories_digest,
            "users": num_users,
            "shard_size": self.shard_size,
            "options": dict(self.options),
        }
        if path.exists() and any((self.out / "parts").glob("part-*")):
            found = read_format(path, FORMAT, VERSION)
            differ = [name for name in manifest if found.get(name) != manifest[name]]
            if differ:
                raise FileExistsError(
                    f"{self.out} holds recommendations of another job: "
                    + "; ".join(
                        f"{name} is {found.get(name)!r} there and {manifest[name]!r} "
                        "here"
                        for name in differ
                    )
                    + ". Name another folder, or remove that one."
                )
        else:
            check_replaceable(self.out, path.name, FORMAT, VERSION)
            write_json(path, {**manifest, "complete": False})
        return [i for i in self.shards(num_users) if not self.path(i).exists()]

    def finish(self) -> None:
        """Says in the manifest that all shards are there."""
        path = self.out / "manifest.json"
        # What workers that were killed have left behind.
        for unfinished in (self.out / "parts").glob(".part-*"):
            unfinished.unlink(missing_ok=True)
        write_json(path, {**read_json(path), "complete": True})

    # These travel with the job once `start` has asked for them.
    @cached_property
    def _model_digest(self) -> str:
        return _digest(*storage.identity(self.model))

    @cached_property
    def _histories_digest(self) -> str:
        part = self.histories / self.part
        folder = part if part.is_dir() else self.histories
        arrays = sorted(folder.rglob("*.npy"))
        return _digest(self.histories / "items.json", folder / "users.json", *arrays)


def load_histories(folder: Path, part: str) -> Interactions:
    """The histories of a part of a prepared folder, or a folder of interactions."""
    manifest = folder / "manifest.json"
    if folder.is_dir() and read_json(manifest).get("format") == INTERACTIONS:
        return load_interactions(folder)
    found = getattr(load_prepared(folder).split, part)
    if found is None:
        raise ValueError(f"{folder} has no {part} users.")
    return getattr(found, "input", found)


@lru_cache(maxsize=1)
def _loaded(
    model: Path, histories: Path, part: str, digests: tuple[str, str]
) -> tuple[Recommender, Interactions]:
    """Stays in a worker process from one shard to the next.

    Not from one model to the next in the same folder, which is what `digests` are for.
    """
    return Recommender.load(model), load_histories(histories, part)


def _digest(*files: Path) -> str:
    """SHA-256 of the contents of files, one after the other."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
