"""The commands `evaluate`, `recommend`, `export` and `serve`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from keras_multvae import (
    ModelCard,
    Recommender,
    evaluate_ranking,
    export_saved_model,
    recommend_on_ray,
    write_serving_config,
)
from keras_multvae.cli.output import answer, working
from keras_multvae.data import Split, load_prepared
from keras_multvae.extras import import_extra
from keras_multvae.recommender import json_lines
from keras_multvae.recommender.events import holds_events, of_events

BATCH = 500


def evaluate(arguments: argparse.Namespace) -> None:
    """Model and prepared folder -> figures."""
    recommender = Recommender.load(arguments.model)
    part = _part(recommender, arguments.prepared, arguments)
    with working(f"Ranking for {part.num_users:,} users"):
        report = evaluate_ranking(recommender.model, part, arguments.metrics)
    answer(report.to_dict(), str(report), arguments.json)


def recommend(arguments: argparse.Namespace) -> None:
    """Histories as JSON lines -> recommendations, a line or a list each."""
    if arguments.engine == "ray":
        _recommend_on_ray(arguments)
        return
    recommender = Recommender.load(arguments.model)
    if arguments.out is not None:
        _recommend_to_parquet(recommender, arguments)
        return
    if arguments.all or Path(arguments.histories).is_dir():
        raise ValueError("Recommendations for many users need a file: --out FILE.")
    with _open(arguments.histories) as file:
        for batch in json_lines.batches(file, BATCH):
            found = recommender.recommend(
                batch.rows, k=arguments.k, on_unknown=arguments.on_unknown
            )
            kind = "user" if batch.events else "history"
            for index, (items, scores) in enumerate(found):
                name = batch.names[index]
                who = {"user": name} if batch.events else {}
                answer(
                    {**who, "items": items.tolist(), "scores": scores.tolist()},
                    f"{kind} {name}:\n{found.describe(index)}",
                    arguments.json,
                )


def _recommend_to_parquet(
    recommender: Recommender, arguments: argparse.Namespace
) -> None:
    """All users of the model, of a prepared folder or of events -> Parquet file."""
    if not arguments.all:
        source = _histories_of_many(arguments)
        if holds_events(source):
            histories = of_events(source, recommender.items, arguments.on_unknown)
        else:
            part = _part(recommender, arguments.histories, arguments)
            histories = getattr(part, "input", part)
        recommender = Recommender(
            recommender.model, recommender.items, histories=histories
        )
    rows = recommender.recommend_to_parquet(arguments.out, k=arguments.k, progress=True)
    users = recommender.histories.num_users
    counts = recommender.histories.counts
    unknown = {
        name: counts[name]
        for name in ("unknown_items", "entries_of_unknown_items")
        if counts.get(name)
    }
    words = "{:,} unknown items left out, in {:,} entries.\n".format(
        *(unknown.values() or (0, 0))
    )
    answer(
        {"out": arguments.out, "users": users, "rows": rows, **unknown},
        f"{rows:,} recommendations for {users:,} users.\n{words * bool(unknown)}"
        f"Written to {arguments.out}",
        arguments.json,
    )


def _recommend_on_ray(arguments: argparse.Namespace) -> None:
    """The same on a Ray cluster -> folder of Parquet files."""
    rows = recommend_on_ray(
        arguments.model,
        arguments.out,
        None if arguments.all else _histories_of_many(arguments),
        part=arguments.part,
        address=arguments.address,
        num_workers=arguments.workers,
        progress=True,
        k=arguments.k,
        on_unknown=arguments.on_unknown,
    )
    answer(
        {"out": arguments.out, "rows": rows},
        f"{rows:,} recommendations.\nWritten to {arguments.out}/parts",
        arguments.json,
    )


def _histories_of_many(arguments: argparse.Namespace) -> Path:
    """The folder or file that --out recommends for."""
    source = Path(arguments.histories)
    if not source.exists():
        raise ValueError(
            "--out recommends for many users: give the folder that prepare wrote, "
            f"files of events, or --all. Received: {source}."
        )
    return source


def _part(
    recommender: Recommender, prepared: str, arguments: argparse.Namespace
) -> Any:
    """The interactions or the fold-in of a part of a prepared folder."""
    part = getattr(_split(recommender, prepared, arguments), arguments.part)
    if part is None:
        raise ValueError(f"{prepared} has no {arguments.part} users.")
    return part


def _split(
    recommender: Recommender, prepared: str, arguments: argparse.Namespace
) -> Split:
    """The split of a prepared folder, which has the recommender's items."""
    split = load_prepared(prepared).split
    if recommender.items != split.train.items:
        raise ValueError(
            f"{arguments.model} was trained on other items than those of {prepared}."
        )
    return split


def export(arguments: argparse.Namespace) -> None:
    """Model folder -> SavedModel, model card and the server's files."""
    recommender = Recommender.load(arguments.model)
    card = ModelCard(data=arguments.data_name, licence=arguments.licence)
    if arguments.prepared is not None:
        split = _split(recommender, arguments.prepared, arguments)
        card = replace(card, train=split.train)
        if split.test is not None:
            with working(f"Ranking for {split.test.num_users:,} users"):
                report = evaluate_ranking(recommender.model, split.test)
            card = replace(card, report=report)
    with working("Exporting under TensorFlow"):
        folder = export_with_files(
            recommender,
            Path(arguments.out),
            version=arguments.version,
            k=arguments.k,
            keep=arguments.keep,
            quantize=arguments.quantize,
            card=card,
        )
    print(folder)


def serve(arguments: argparse.Namespace) -> None:
    """SavedModel -> a server, until it is told to end."""
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
    )


def export_with_files(recommender: Recommender, out: Path, **options: Any) -> Path:
    """A version of the SavedModel, and the server's files where there are none yet."""
    folder = export_saved_model(recommender, out, **options)
    # They may have been changed by hand since.
    if not (out / "serving").exists():
        write_serving_config(out)
    return folder


def _open(path: str) -> TextIO:
    if path == "-":
        return sys.stdin
    return Path(path).open(encoding="utf-8")
