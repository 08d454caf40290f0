"""Writing a version's folder: a model, and what lies beside it whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import sparse

from keras_multvae import checks
from keras_multvae.abilities import GivesLogits, require
from keras_multvae.card import ModelCard
from keras_multvae.files import replace_folder, write_json
from keras_multvae.recommender import Recommender
from keras_multvae.serving import versions
from keras_multvae.serving.card import render
from keras_multvae.serving.whole import write_files
from keras_multvae.typing import Id


def write_version(
    recommender: Recommender,
    path: Path,
    file: str,
    write_model: Callable[[Path, int], None],
    *,
    version: int | None,
    k: int,
    keep: int | None,
    quantize: str | None,
    card: ModelCard | None,
) -> Path:
    """Writes a version's folder, which appears when it is complete.

    Args:
        recommender: What to export.
        path: The model's folder.
        file: The file that tells the version's format, `SAVED_MODEL` or `ONNX`.
        write_model: Writes the model into a folder, for this k.
        version: See `export_saved_model`.
        k: See `export_saved_model`.
        keep: See `export_saved_model`.
        quantize: See `export_saved_model`.
        card: See `export_saved_model`.

    Returns:
        The version's folder.

    Raises:
        ValueError: k, version or keep < 1, or a folder of models of another format.
        FileExistsError: The version is already there.
        FolderInUseError: Another process is writing this very version.
    """
    k = checks.integer("k", k)
    if version is not None:
        version = checks.integer("version", version)
        if version > versions.LAST_VERSION:
            raise ValueError(f"`version` must be below 2**63. Received: {version}.")
    keep = None if keep is None else checks.integer("keep", keep)
    versions.check_format(path, file)
    with versions.claimed(path, version) as number:
        target = path / str(number)
        with replace_folder(target) as temporary:
            write_model(temporary, min(k, len(recommender.items)))
            _write_catalogue(recommender, temporary / versions.CATALOGUE)
            name = versions.name_of(path)
            text = render(card or ModelCard(), recommender, name, number, k, quantize)
            (temporary / versions.CARD).write_text(text, encoding="utf-8")
            write_files(temporary)
    if keep is not None:
        versions.prune(path, file, keep, target)
    return target


def check_exported(recommender: Recommender, what: str) -> None:
    """Raises an error if a recommender's model cannot be exported.

    Raises:
        TypeError: It has no logits.
        ValueError: Its scores are not finite.
    """
    require(recommender.model, GivesLogits, what)
    nobody = sparse.csr_matrix((1, len(recommender.items)), dtype="float32")
    if not np.isfinite(recommender.model.score(nobody)).all():
        raise ValueError(
            "The model's scores are not finite: its training has diverged. Export an "
            "earlier epoch, or train with a lower learning rate."
        )


def _write_catalogue(recommender: Recommender, path: Path) -> None:
    """Writes ids, titles and labels in index order, and what the scores are."""
    ids: list[Id] = recommender.items.ids.tolist()
    titles = [str(recommender.titles.get(item, item)) for item in ids]
    likelihood = recommender.model.likelihood
    write_json(
        path,
        {
            "format_version": versions.CATALOGUE_VERSION,
            "kind": recommender.items.kind,
            "ids": ids,
            "titles": titles if recommender.titles else None,
            "log_probabilities": likelihood.scores_log_probabilities,
            "labels": [
                {
                    "name": feature.name,
                    "values": feature.values,
                    "items": _columns_of_rows(sparse.csr_matrix(feature.matrix)),
                }
                for feature in recommender.features or ()
                if feature.kind == "labels"
            ],
        },
    )


def _columns_of_rows(matrix: sparse.csr_matrix) -> list[list[int]]:
    """The columns of each row that are not 0."""
    columns, ends = matrix.indices.tolist(), matrix.indptr.tolist()
    return [columns[start:stop] for start, stop in pairwise(ends)]
