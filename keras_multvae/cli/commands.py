"""The commands `evaluate`, `export` and `serve`."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from keras_multvae import (
    ModelCard,
    Recommender,
    Reranking,
    evaluate_ranking,
    export_onnx,
    export_saved_model,
    write_serving_config,
)
from keras_multvae.cli.output import print_result, status
from keras_multvae.cli.recommend_options import reranking_of
from keras_multvae.data import Split, load_prepared
from keras_multvae.extras import import_extra

if TYPE_CHECKING:
    from keras_multvae.data import FoldIn, Interactions


def evaluate(arguments: argparse.Namespace) -> None:
    """Model and prepared folder -> metrics."""
    recommender = Recommender.load(arguments.model)
    part = part_of(recommender, arguments.prepared, arguments.part, arguments.model)
    train = part_of(recommender, arguments.prepared, "train", arguments.model)
    with status(f"Ranking for {part.num_users:,} users"):
        report = evaluate_ranking(
            recommender.model,
            part,
            arguments.metrics,
            train=train,
            features=recommender.features,
            label=arguments.label,
            rerank=Reranking(**reranking_of(arguments)),
        )
    print_result(report.to_dict(), str(report), arguments.json)


def part_of(
    recommender: Recommender, prepared: str | os.PathLike[str], part: str, model: str
) -> Interactions | FoldIn:
    """The interactions or the fold-in of a part of a prepared folder."""
    found = getattr(_split(recommender, prepared, model), part)
    if found is None:
        raise ValueError(f"{prepared} has no {part} users.")
    return found


def _split(
    recommender: Recommender, prepared: str | os.PathLike[str], model: str
) -> Split:
    """The split of a prepared folder; checks that it has the recommender's items."""
    split = load_prepared(prepared).split
    if recommender.items != split.train.items:
        raise ValueError(
            f"{model} was trained on other items than those of {prepared}."
        )
    return split


def export(arguments: argparse.Namespace) -> None:
    """Model folder -> SavedModel or ONNX model, model card, the server's files."""
    recommender = Recommender.load(arguments.model)
    card = ModelCard(data=arguments.data_name, licence=arguments.licence)
    if arguments.prepared is not None:
        split = _split(recommender, arguments.prepared, arguments.model)
        card = replace(card, train=split.train)
        if split.test is not None:
            with status(f"Ranking for {split.test.num_users:,} users"):
                report = evaluate_ranking(recommender.model, split.test)
            card = replace(card, report=report)
    options = {name: getattr(arguments, name) for name in ("version", "k", "keep")}
    if arguments.format == "onnx":
        with status("Exporting to ONNX"):
            folder = export_onnx(recommender, arguments.out, card=card, **options)
    else:
        with status("Exporting under TensorFlow"):
            folder = export_with_files(
                recommender,
                Path(arguments.out),
                quantize=arguments.quantize,
                card=card,
                **options,
            )
    print(folder)


def serve(arguments: argparse.Namespace) -> None:
    """SavedModel -> a server, until it is stopped."""
    import_extra("prometheus_client", "serving")
    import_extra("starlette", "serving")
    import_extra("uvicorn", "serving")
    from keras_multvae.server import serve as serve_model

    serve_model(
        arguments.saved_model,
        arguments.host,
        arguments.port,
        arguments.max_request_mib * 2**20,
        arguments.allowed_hosts,
        arguments.grpc_port,
        arguments.labels,
    )


def export_with_files(recommender: Recommender, out: Path, **options: object) -> Path:
    """Exports a version of the SavedModel, and the server's files if there are none."""
    folder = export_saved_model(recommender, out, **options)
    # They may have been edited by hand.
    if not (out / "serving").exists():
        write_serving_config(out)
    return folder
