"""A SavedModel that recommends: raw item ids in, raw item ids and scores out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

from keras_multvae.backend.saved_model import (
    check_tensorflow,
    on_tensorflow,
    run_under_tensorflow,
    save_quietly,
)
from keras_multvae.card import ModelCard
from keras_multvae.data.vocabulary import PADDING
from keras_multvae.recommender import Recommender
from keras_multvae.serving import config, versions
from keras_multvae.serving.plain import check_quantize
from keras_multvae.serving.version_folder import check_exported, write_version

# Read by a server with --enable_per_model_batching_parameters.
BATCHING = "batching_params.pbtxt"


def export_saved_model(
    recommender: Recommender,
    path: str | os.PathLike[str],
    version: int | None = None,
    k: int = 100,
    *,
    keep: int | None = None,
    quantize: Literal["bfloat16", "int8"] | None = None,
    card: ModelCard | None = None,
) -> Path:
    """Writes a recommender as a version folder for TensorFlow Serving.

    The SavedModel holds plain TensorFlow operations and the weights of inference,
    whatever the backend and dtype policy of the model. It computes in float32. Its
    signature `serving_default`:

    - input `item_ids` (users, length): histories, strings (int64 where the ids are
      int), padded with "" (-1). Unknown ids are ignored, repeated ones count once.
    - output `item_ids` (users, k), `scores` (users, k) float32: the best items outside
      the history and their scores, as `Recommender.recommend` gives them.
    - output `valid` (users,) int32: how many of the k count; the others are padding
      with the lowest finite score.

    The signatures `recommend`, `discover`, `diverse`, `score`, `embed`, `similar_items`
    and `recommend_examples` are described in docs/serving.md. The version's folder
    `assets.extra` holds warm-up requests, which the server answers before it serves the
    version, `MODEL_CARD.md`, `catalogue.json`: ids, titles and labels, and
    `files.json`: all other files with their sizes and checksums. `write_serving_config`
    writes the configuration of a server.

    Args:
        recommender: A `Recommender` with a Keras model.
        path: The model's folder, as in `saved_models/NAME`.
        version: Int >= 1, the version folder; by default the next free number.
        k: Int >= 1, items for each user, at most the number of items.
        keep: Int >= 1, the number of newest versions to keep, including this one; older
            ones are removed at the end. By default all are kept.
        quantize: "bfloat16" or "int8" (with a scale for each item) reduce the memory of
            item embeddings to a half or a quarter; only for models with the encoder and
            decoder of this package.
        card: Information about data and quality for the model card.

    Returns:
        The version folder, complete or not there at all.

    Raises:
        TypeError: The recommender's model has no logits, such as a baseline.
        ValueError: k, version or keep < 1, an unknown `quantize`, an id that is also
            the padding, or scores that are not finite.
        FileExistsError: The version is already there.
        FolderInUseError: Another process is writing this very version.
        ImportError: TensorFlow is not installed.

    Example:

    >>> export_saved_model(recommender, "saved_models/movielens")  # doctest: +SKIP
    PosixPath('saved_models/movielens/1')

    References:
        - https://www.tensorflow.org/tfx/serving/serving_basic
    """
    check_tensorflow()
    check_exported(recommender, "A SavedModel")
    check_quantize(recommender.model, quantize)
    _check_padding(recommender)
    write = write_graph if on_tensorflow() else _write_elsewhere

    def write_model(folder: Path, k: int) -> None:
        write(recommender, folder, k, quantize)
        (folder / BATCHING).write_text(config.batching_parameters())

    return write_version(
        recommender,
        Path(path),
        versions.SAVED_MODEL,
        write_model,
        version=version,
        k=k,
        keep=keep,
        quantize=quantize,
        card=card,
    )


def write_graph(
    recommender: Recommender, folder: Path, k: int, quantize: str | None
) -> None:
    """Writes the SavedModel itself, under the TensorFlow backend."""
    from keras_multvae.serving import warmup
    from keras_multvae.serving.forward import forward_of
    from keras_multvae.serving.signatures import Signatures

    items = recommender.items
    network = forward_of(recommender.model, quantize)
    module = Signatures(network, items, k, recommender.features)
    save_quietly(module, folder, module.functions)
    warmup.write(
        folder / versions.WARMUP,
        module.functions,
        items.ids[: warmup.LENGTH].tolist(),
    )


def _write_elsewhere(
    recommender: Recommender, folder: Path, k: int, quantize: str | None
) -> None:
    """Calls `write_graph` in a process under TensorFlow."""
    # In a folder that the next export removes if this one is killed.
    with tempfile.TemporaryDirectory(dir=folder) as source:
        needed = Recommender(
            recommender.model, recommender.items, features=recommender.features
        )
        needed.save(Path(source, "model"))
        run_under_tensorflow(
            recommender.model,
            "from pathlib import Path\n"
            "from keras_multvae import Recommender\n"
            "from keras_multvae.serving.export import write_graph\n"
            "source, folder, k, quantize = sys.argv[1:]\n"
            "recommender = Recommender.load(source)\n"
            "write_graph(recommender, Path(folder), int(k), quantize or None)",
            str(Path(source, "model")),
            str(folder),
            str(k),
            quantize or "",
        )


def _check_padding(recommender: Recommender) -> None:
    padding = PADDING[recommender.items.kind]
    if recommender.items.lookup([padding])[0] >= 0:
        raise ValueError(
            f"{padding!r} pads histories in the SavedModel, so it cannot be an item "
            "id. Rename that item."
        )
