"""A SavedModel that recommends: raw item ids in, raw item ids and scores out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from keras_multvae import bags
from keras_multvae.backend.saved_model import (
    inference_weights,
    on_tensorflow,
    run_under_tensorflow,
    save_module,
)
from keras_multvae.metrics import MASKED, mask_seen
from keras_multvae.models.base import RankingModel
from keras_multvae.recommender import Recommender

PADDING = {"str": "", "int": -1}


def export_saved_model(
    recommender: Recommender,
    path: str | os.PathLike[str],
    version: int | None = None,
    k: int = 100,
) -> Path:
    """Writes a recommender as a version folder that TensorFlow Serving serves.

    The SavedModel holds plain TensorFlow operations and the weights of inference, no
    matter on which backend the model was trained. Its signature `serving_default`:

    - input `item_ids` (users, length): histories, strings (int64 where the ids are
      int), padded with "" (-1). Unknown ids are ignored, repeated ones count once.
    - output `item_ids` (users, k), `scores` (users, k) float32: the best items outside
      the history and their scores, as `Recommender.recommend` gives them.
    - output `valid` (users,) int32: how many of the k count; the others are padding
      with the lowest finite score.

    Args:
        recommender: A `Recommender` with a `MultVAE` or `MultDAE`.
        path: The model's folder, as in `saved_models/NAME`.
        version: Int >= 1, the version folder; by default the next free number.
        k: Int >= 1, items a user; no more than the catalogue has.

    Returns:
        The version folder, complete or not there at all.

    Raises:
        TypeError: The recommender holds a baseline.
        ValueError: k or version < 1, or an id that is also the padding.
        FileExistsError: The version is already there.
        ImportError: TensorFlow is not installed.

    Example:

    >>> export_saved_model(recommender, "saved_models/movielens")  # doctest: +SKIP
    PosixPath('saved_models/movielens/1')

    References:
        - https://www.tensorflow.org/tfx/serving/serving_basic
    """
    if not isinstance(recommender.model, RankingModel):
        raise TypeError(
            "Only a MultVAE or MultDAE can be exported. Received: "
            f"{type(recommender.model).__name__}."
        )
    padding = PADDING[recommender.items.kind]
    if recommender.items.lookup([padding])[0] >= 0:
        raise ValueError(
            f"{padding!r} pads histories in the SavedModel, so it cannot be an item "
            "id. Rename that item."
        )
    path = Path(path)
    version = _next_version(path) if version is None else version
    for name, number in (("k", k), ("version", version)):
        if number < 1:
            raise ValueError(f"`{name}` must be >= 1. Received: {name}={number}.")
    target = path / str(version)
    if target.exists():
        raise FileExistsError(
            f"{target} exists; a served version never changes. Leave `version` out to "
            f"write version {_next_version(path)}."
        )
    if on_tensorflow():
        _write(recommender, target, k)
    else:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "recommender"
            Recommender(recommender.model, recommender.items).save(source)
            run_under_tensorflow(
                "import sys\n"
                "from keras_multvae import Recommender, export_saved_model\n"
                "path, version, k = sys.argv[2], *map(int, sys.argv[3:])\n"
                "export_saved_model(Recommender.load(sys.argv[1]), path, version, k)",
                str(source),
                str(path),
                str(version),
                str(k),
            )
    return target


def _next_version(path: Path) -> int:
    versions = (
        [int(each.name) for each in path.iterdir() if each.name.isdigit()]
        if path.is_dir()
        else []
    )
    return max(versions, default=0) + 1


def _write(recommender: Recommender, target: Path, k: int) -> None:
    import tensorflow as tf

    model, items = recommender.model, recommender.items
    num_items = len(items)
    k = min(k, num_items)
    raw_ids = tf.constant(
        items.ids.tolist(), tf.string if items.kind == "str" else tf.int64
    )
    padding = tf.constant(PADDING[items.kind], raw_ids.dtype)
    module = tf.Module()
    module.weights = inference_weights(model)
    module.indices = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            raw_ids, tf.range(num_items, dtype="int64")
        ),
        default_value=-1,
    )
    spec = tf.TensorSpec((None, None), raw_ids.dtype, name="item_ids")

    @tf.function(input_signature=[spec])
    def recommend(item_ids: Any) -> dict[str, Any]:
        histories = _as_bags(tf.cast(module.indices.lookup(item_ids), tf.int32))
        z = model.encode(histories)
        scores = model.likelihood.scores(model.decoder(z))
        seen = bags.to_dense(histories, num_items)
        best, indices = tf.math.top_k(mask_seen(scores, seen), k)
        unseen = num_items - tf.cast(tf.reduce_sum(seen, axis=1), tf.int32)
        valid = tf.minimum(unseen, k)
        counts = tf.range(k)[None, :] < valid[:, None]
        return {
            "item_ids": tf.where(counts, tf.gather(raw_ids, indices), padding),
            "scores": tf.where(counts, best, MASKED),
            "valid": valid,
        }

    module.recommend = recommend
    save_module(module, target, serving_default=recommend)


def _as_bags(indices: Any) -> dict[str, Any]:
    """Item indices (users, length), -1 for unknown, as a bag batch of length each."""
    import tensorflow as tf

    ordered = tf.sort(indices, axis=1)
    first = tf.concat([ordered[:, :1] >= 0, ordered[:, 1:] != ordered[:, :-1]], axis=1)
    counts = tf.logical_and(first, ordered >= 0)
    users, length = tf.unstack(tf.shape(ordered))
    return {
        "bag_sizes": tf.fill([users], length),
        "item_ids": tf.reshape(tf.maximum(ordered, 0), [-1]),
        "values": tf.reshape(tf.cast(counts, tf.float32), [-1]),
    }
