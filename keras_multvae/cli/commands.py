"""The commands `evaluate`, `recommend`, `export` and `serve`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
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
from keras_multvae.recommender.histories import holds_events, of_events

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
        for number, batch in _batches(file):
            found = recommender.recommend(
                batch, k=arguments.k, on_unknown=arguments.on_unknown
            )
            for index, (items, scores) in enumerate(found):
                answer(
                    {"items": items.tolist(), "scores": scores.tolist()},
                    f"history {number + index}:\n{found.describe(index)}",
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


def _batches(file: TextIO) -> Iterator[tuple[int, list[Any]]]:
    """Histories in batches, with the line number of the first."""
    batch: list[Any] = []
    first = 1
    for number, line in enumerate(file, start=1):
        try:
            history = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"Line {number} is no JSON ({error}).") from None
        if not isinstance(history, list):
            raise ValueError(
                f"Line {number} must be a JSON list of item ids. Received: "
                f"{line.strip()[:60]}"
            )
        for item in history:
            if not isinstance(item, str | int):
                raise ValueError(
                    f"Line {number} must hold item ids, strings or whole numbers. "
                    f"Received: {json.dumps(item)[:60]}"
                )
        batch.append(history)
        if len(batch) == BATCH:
            yield first, batch
            batch, first = [], number + 1
    if batch:
        yield first, batch
