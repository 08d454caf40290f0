"""A SavedModel that recommends: raw item ids in, raw item ids and scores out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.abilities import GivesLogits, require
from keras_multvae.backend.saved_model import (
    check_tensorflow,
    on_tensorflow,
    run_under_tensorflow,
    save_quietly,
)
from keras_multvae.data.vocabulary import PADDING
from keras_multvae.files import replace_folder, write_json
from keras_multvae.recommender import Recommender
from keras_multvae.serving import config, versions
from keras_multvae.serving.card import CARD, ModelCard, render
from keras_multvae.serving.plain import check_quantize
from keras_multvae.serving.whole import write_files
from keras_multvae.typing import Id

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

    The signatures `recommend`, `discover`, `score`, `embed`, `similar_items` and
    `recommend_examples` are described in docs/serving.md. The version's folder
    `assets.extra` holds warm-up requests, which the server answers before it serves the
    version, `MODEL_CARD.md`, `catalogue.json`: ids and titles in index order, and
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
    _check(recommender, quantize)
    path = Path(path)
    k = checks.integer("k", k)
    if version is not None:
        version = checks.integer("version", version)
        if version > versions.LAST_VERSION:
            raise ValueError(f"`version` must be below 2**63. Received: {version}.")
    keep = None if keep is None else checks.integer("keep", keep)
    with versions.claimed(path, version) as number:
        target = path / str(number)
        with replace_folder(target) as temporary:
            if on_tensorflow():
                write_graph(recommender, temporary, k, quantize)
            else:
                _write_elsewhere(recommender, temporary, k, quantize)
            _write_catalogue(recommender, temporary / versions.CATALOGUE)
            name = versions.name_of(path)
            text = render(card or ModelCard(), recommender, name, number, k, quantize)
            (temporary / versions.EXTRA / CARD).write_text(text, encoding="utf-8")
            (temporary / BATCHING).write_text(config.batching_parameters())
            write_files(temporary)
    if keep is not None:
        versions.prune(path, keep, target)
    return target


def write_graph(
    recommender: Recommender, folder: Path, k: int, quantize: str | None
) -> None:
    """Writes the SavedModel itself, under the TensorFlow backend."""
    from keras_multvae.serving import warmup
    from keras_multvae.serving.forward import forward_of
    from keras_multvae.serving.signatures import Signatures

    items = recommender.items
    module = Signatures(forward_of(recommender.model, quantize), items, k)
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
        Recommender(recommender.model, recommender.items).save(Path(source, "model"))
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


def _write_catalogue(recommender: Recommender, path: Path) -> None:
    """Writes ids and titles in index order, for searches."""
    ids: list[Id] = recommender.items.ids.tolist()
    titles = [str(recommender.titles.get(item, item)) for item in ids]
    write_json(
        path,
        {
            "format_version": versions.CATALOGUE_VERSION,
            "kind": recommender.items.kind,
            "ids": ids,
            "titles": titles if recommender.titles else None,
        },
    )


def _check(recommender: Recommender, quantize: str | None) -> None:
    require(recommender.model, GivesLogits, "A SavedModel")
    padding = PADDING[recommender.items.kind]
    if recommender.items.lookup([padding])[0] >= 0:
        raise ValueError(
            f"{padding!r} pads histories in the SavedModel, so it cannot be an item "
            "id. Rename that item."
        )
    check_quantize(recommender.model, quantize)
    nobody = sparse.csr_matrix((1, len(recommender.items)), dtype="float32")
    if not np.isfinite(recommender.model.score(nobody)).all():
        raise ValueError(
            "The model's scores are not finite: its training has diverged. Export an "
            "earlier epoch, or train with a lower learning rate."
        )
