"""A recommender as an ONNX model: item indices in, indices and scores out."""

from __future__ import annotations

import os
from pathlib import Path

from keras_multvae.card import ModelCard
from keras_multvae.extras import import_extra
from keras_multvae.recommender import Recommender
from keras_multvae.serving import versions
from keras_multvae.serving.onnx.network import check_network
from keras_multvae.serving.onnx.signature import recommending_graph
from keras_multvae.serving.version_folder import check_exported, write_version

FORMAT, FORMAT_VERSION = "keras_multvae onnx", 1
DESCRIPTION = (
    "history: item indices of users, int64, padded with -1. values: float32, of the "
    "same shape, or (1, 1) for all; 1 for clicks. item_indices, scores: each user's "
    "best items outside of the history; index -1 where there is none. "
    "assets.extra/catalogue.json has the items' ids and titles in the order of indices."
)


def export_onnx(
    recommender: Recommender,
    path: str | os.PathLike[str],
    version: int | None = None,
    k: int = 100,
    *,
    keep: int | None = None,
    card: ModelCard | None = None,
) -> Path:
    """Writes a recommender as a version folder with an ONNX model.

    The graph is written from the model's weights, whatever the backend, in float32. It
    needs operations of opset 18 and none besides, so that ONNX Runtime, OpenVINO and
    others answer without Keras.

    - input `history` int64 (users, length): item indices, padded with -1. Indices
      outside the catalogue are ignored, repeated ones count once.
    - input `values` float32 (users, length), or (1, 1) for all entries: counts, 1 for
      clicks. Entries whose value is not positive and finite are ignored.
    - output `item_indices` int64 (users, k), `scores` float32 (users, k): the best
      items outside the history and their scores, as `Recommender.recommend` gives them.
      Where a user has fewer than k, the index is -1 and the score the lowest finite.

    Beside `model.onnx` and `model.onnx.data`, its weights, the folder `assets.extra`
    holds `catalogue.json`: ids and titles in index order, `MODEL_CARD.md`, and
    `files.json`: all other files with their sizes and checksums. docs/onnx.md has
    examples.

    Args:
        recommender: A `Recommender` whose model has the encoder, decoder and likelihood
            of this package, with or without a linear path.
        path: The model's folder, as in `onnx_models/NAME`; not one of SavedModels.
        version: Int >= 1, the version folder; by default the next free number.
        k: Int >= 1, items for each user, at most the number of items.
        keep: Int >= 1, the number of newest versions to keep, including this one; by
            default all are kept.
        card: Information about data and quality for the model card.

    Returns:
        The version folder, complete or not there at all.

    Raises:
        TypeError: A model without logits, or with layers of its own.
        ValueError: k, version or keep < 1, a folder of SavedModels, or scores that are
            not finite.
        FileExistsError: The version is already there.
        FolderInUseError: Another process is writing this very version.
        ImportError: The package onnx is not installed.

    Example:

    >>> export_onnx(recommender, "onnx_models/movielens")  # doctest: +SKIP
    PosixPath('onnx_models/movielens/1')

    References:
        - https://onnx.ai/onnx/operators/
    """
    import_extra("onnx", "onnx")
    check_exported(recommender, "An ONNX model")
    check_network(recommender.model)

    def write_model(folder: Path, k: int) -> None:
        facts = {"format": FORMAT, "format_version": FORMAT_VERSION}
        graph = recommending_graph(recommender.model, k)
        graph.write(folder, DESCRIPTION, facts)

    return write_version(
        recommender,
        Path(path),
        versions.ONNX,
        write_model,
        version=version,
        k=k,
        keep=keep,
        quantize=None,
        card=card,
    )
