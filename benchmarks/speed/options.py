"""What the command line says, for all measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy import sparse

from benchmarks.speed import data
from benchmarks.speed.processes import ROOT, System, Worker


@dataclass(frozen=True)
class Options:
    """See `python -m benchmarks --help`."""

    systems: list[str] = field(default_factory=list)
    work: str = "synthetic"
    gowalla: Path | None = None
    movielens: Path | None = None
    users: int = 20_000
    rows: int = data.RATINGS
    batch_size: int = 500
    rounds: int = 5
    seconds: int = 60
    threads: int = 2
    results: Path = ROOT / "benchmarks" / "results"
    cache: Path = Path.home() / ".cache" / "keras-multvae-benchmarks"
    tag: str = ""

    def clicks(self, users: int | None = None, items: int | None = None) -> Path:
        """The file of the matrix to work on."""
        users = users or self.users
        name = f"{self.work}-{users}"
        size = {} if items is None else {"items": items}
        if items:
            name += f"-{items}-items"
        if self.work == "gowalla":
            if self.gowalla is None:
                raise ValueError("The work gowalla needs `--gowalla FILE`.")
            users = min(users, data.GOWALLA_SHAPE[0])
            file = self.gowalla

            def make() -> sparse.csr_matrix:
                return data.gowalla(file)[:users]
        else:

            def make() -> sparse.csr_matrix:
                return data.synthetic(users, **size)

        return data.cached(
            self.cache / f"{name}.npz",
            lambda path: sparse.save_npz(path, make(), compressed=False),
        )

    def ratings(self) -> Path:
        """A Parquet file of ratings."""
        return data.cached(
            self.cache / f"ratings-{self.rows}.parquet",
            lambda path: self._write("ratings", rows=self.rows, out=str(path)),
        )

    def events(self, rows: int, parts: int) -> Path:
        """A folder of Parquet files of events."""
        return data.cached(
            self.cache / f"events-{rows}",
            lambda path: self._write("events", rows=rows, parts=parts, out=str(path)),
        )

    def folder(self, users: int) -> Path:
        """A prepared folder that trains on the matrix of so many users."""
        clicks = self.clicks(users)
        return data.cached(
            self.cache / f"{self.work}-{users}-prepared",
            lambda path: self._write("folder", clicks=str(clicks), out=str(path)),
        )

    def describe(self) -> str:
        """The matrix in words."""
        matrix = sparse.load_npz(self.clicks())
        users, items = matrix.shape
        return f"{self.work}: {users:,} users, {items:,} items, {matrix.nnz:,} clicks"

    def shown(self, *names: str) -> dict[str, Any]:
        """What a result keeps of them."""
        names = names or ("batch_size", "rounds", "threads")
        return {name: getattr(self, name) for name in names}

    def _write(self, method: str, **arguments: Any) -> None:
        # In a process of its own, whose memory goes away with it.
        target = "benchmarks.speed.systems.files:Writing"
        with Worker(System("writing", target), self.threads) as worker:
            worker.call(method, **arguments)
