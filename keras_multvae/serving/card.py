"""The model card of an exported version."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from string import Template

import numpy as np

from keras_multvae.data import Interactions
from keras_multvae.evaluation import RankingReport
from keras_multvae.extras import package_version
from keras_multvae.recommender import Recommender
from keras_multvae.serving.config import read_template
from keras_multvae.training.record import TrainingRecord
from keras_multvae.typing import Model

TEMPLATE = "MODEL_CARD.md"
UNKNOWN = "not stated"
MOVIELENS = (
    "[MovieLens](https://grouplens.org/datasets/movielens/), of GroupLens Research at "
    "the University of Minnesota: free for research, not for commercial use without "
    "their permission, to be cited as F. M. Harper and J. A. Konstan, The MovieLens "
    "Datasets: History and Context, ACM TiiS 5(4), 2015"
)
WEIGHTS = {
    None: "float32",
    "bfloat16": "first-layer table and item matrix in bfloat16, the others in float32",
    "int8": "first-layer table and item matrix in int8 with a float32 scale for each "
    "item, the others in float32",
}


@dataclass(frozen=True, eq=False)
class ModelCard:
    """Information for the model card beyond the model; the card states what is missing.

    Args:
        data: Optional name or description of the data.
        licence: Optional terms of the data in words, or "movielens" for those of
            MovieLens.
        train: Optional `Interactions` that the model was trained on, to be counted.
        report: Optional `RankingReport` on held-out users.

    Example:

    >>> card = ModelCard("clicks of the shop, March to May", licence="ours")
    >>> export_saved_model(
    ...     recommender, "saved_models/shop", card=card
    ... )  # doctest: +SKIP
    """

    data: str | None = None
    licence: str | None = None
    train: Interactions | None = None
    report: RankingReport | None = None


def render(
    card: ModelCard,
    recommender: Recommender,
    name: str,
    version: int,
    k: int,
    quantize: str | None,
) -> str:
    """The card as Markdown."""
    model = recommender.model
    sizes = [int(np.prod(variable.shape)) for variable in model.trainable_variables]
    train = card.train
    licence = MOVIELENS if card.licence == "movielens" else card.licence
    return Template(read_template(TEMPLATE)).substitute(
        name=name,
        version=version,
        package=package_version(),
        date=datetime.date.today().isoformat(),
        kind=type(model).__name__,
        network=_network(model),
        likelihood=model.likelihood.name.removesuffix("_nll"),
        parameters=f"{sum(sizes):,}",
        weights=WEIGHTS[quantize],
        items=f"{model.num_items:,}",
        ids=recommender.items.kind,
        k=min(k, model.num_items),
        data=f"Data: {_sentence(card.data)}",
        users=UNKNOWN if train is None else f"{train.num_users:,}",
        entries=UNKNOWN if train is None else f"{train.num_entries:,}",
        licence=_sentence(licence),
        quality=_quality(card.report, quantize),
        training=_training(recommender.training),
    )


def _network(model: Model) -> str:
    """The sizes of an autoencoder's layers; for other models, their names."""
    settings = model.settings.arguments()
    if not {"hidden_dims", "latent_dim"} <= set(settings):
        return ", ".join(layer.name for layer in model.layers)
    hidden = settings["hidden_dims"]
    inner = (*hidden, settings["latent_dim"], *hidden[::-1])
    units = (model.num_items, *inner, model.num_items)
    return " - ".join(f"{size:,}" for size in units)


def _training(record: TrainingRecord | None) -> str:
    """The recipe, the data and the versions of a training, as a table."""
    if record is None:
        return "Not recorded: the model was not trained by `train`."
    values = record.recipe.to_json()
    rows = {**values["settings"], **values["training"]}
    lines = ["| | |", "| --- | --- |"]
    lines += [f"| {name} | {json.dumps(value)} |" for name, value in rows.items()]
    lines.append(f"| SHA-256 of the training and validation data | {record.data} |")
    lines += [f"| {n} | {each} |" for n, each in record.versions.items()]
    return "\n".join(lines)


def _sentence(text: str | None) -> str:
    return (text or UNKNOWN).strip().removesuffix(".") + "."


def _quality(report: RankingReport | None, quantize: str | None) -> str:
    if report is None:
        return "Not measured, or not stated when the version was exported."
    lines = [
        f"On {report.users:,} held-out users, whose other items were ranked:",
        "",
        "| metric | mean | standard error |",
        "| --- | --- | --- |",
        *(f"| {name} | {_cells(report, name)} |" for name in report.metrics),
        "",
        "Standard errors are over these users, of this one training: how much another "
        "random seed or another month of data would change is not in them.",
    ]
    if quantize is not None:
        lines += ["", "Measured before the weights were quantized."]
    return "\n".join(lines)


def _cells(report: RankingReport, metric: str) -> str:
    error = report.stderr(metric)
    spread = "" if error is None else f"{error:.4f}"
    return f"{report.mean(metric):.4f} | {spread}"
