"""Ratings to prepared folders."""

from __future__ import annotations

from pathlib import Path

from scipy import sparse

from keras_multvae.data import (
    Interactions,
    Split,
    read_interactions,
    save_prepared,
    strong_generalization,
)


class Preparation:
    """The paper's preparation of ML-20M, from a Parquet file."""

    def prepare(self, ratings: str, out: str, held_out: int) -> dict[str, int]:
        interactions = read_interactions(
            ratings,
            user_column="userId",
            item_column="movieId",
            rating_column="rating",
            min_rating=4,
            min_user_items=5,
        )
        split = strong_generalization(interactions, held_out, held_out)
        save_prepared(split, out)
        return {
            "users": split.train.num_users,
            "items": split.train.num_items,
            "entries": split.train.num_entries,
        }


class Writing:
    """Files that a measure needs before it begins."""

    def ratings(self, rows: int, out: str) -> None:
        """A Parquet file of ratings."""
        import polars

        from benchmarks.speed.data import ratings

        polars.DataFrame(ratings(rows)).write_parquet(out)

    def events(self, rows: int, parts: int, out: str) -> None:
        """A folder of Parquet files of events."""
        import polars

        from benchmarks.speed.data import event_log

        Path(out).mkdir()
        for part in range(parts):
            frame = polars.DataFrame(event_log(part, rows, parts))
            frame.write_parquet(Path(out) / f"part-{part:03}.parquet")

    def folder(self, clicks: str, out: str) -> None:
        """A prepared folder that trains on all users of a matrix."""
        matrix = sparse.load_npz(clicks)
        save_prepared(Split(Interactions.from_matrix(matrix)), Path(out))
