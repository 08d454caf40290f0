"""The model card: what is known of a model, and what is not stated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np

from keras_multvae.data import Interactions
from keras_multvae.evaluation import RankingReport
from keras_multvae.extras import package_version
from keras_multvae.training.record import TrainingRecord
from keras_multvae.typing import Model

UNKNOWN = "not stated"
MOVIELENS = (
    "[MovieLens](https://grouplens.org/datasets/movielens/), of GroupLens Research at "
    "the University of Minnesota: free for research, not for commercial use without "
    "their permission, to be cited as F. M. Harper and J. A. Konstan, The MovieLens "
    "Datasets: History and Context, ACM TiiS 5(4), 2015"
)


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


def licence_of(card: ModelCard) -> str:
    """The terms of the data in words."""
    return sentence(MOVIELENS if card.licence == "movielens" else card.licence)


def parameters_of(model: Model) -> int:
    """The number of weights that are trained."""
    return sum(int(np.prod(each.shape)) for each in model.trainable_variables)


def likelihood_of(model: Model) -> str:
    """The name of a model's likelihood, such as multinomial."""
    return str(model.likelihood.name.removesuffix("_nll"))


def network_of(model: Model) -> str:
    """The sizes of an autoencoder's layers; for other models, their names."""
    settings = model.settings.arguments()
    if not {"hidden_dims", "latent_dim"} <= set(settings):
        return ", ".join(layer.name for layer in model.layers)
    hidden = settings["hidden_dims"]
    inner = (*hidden, settings["latent_dim"], *hidden[::-1])
    units = (model.num_items, *inner, model.num_items)
    return " - ".join(f"{size:,}" for size in units)


def training_table(record: TrainingRecord | None) -> str:
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


def sentence(text: str | None) -> str:
    """A text with one full stop at its end."""
    return (text or UNKNOWN).strip().removesuffix(".") + "."


def quality_table(report: RankingReport | None) -> str:
    """The metrics of an evaluation with their standard errors, as a table."""
    if report is None:
        return "Not measured, or not stated when this card was written."
    lines = [
        f"On {report.users:,} held-out users, whose other items were ranked:",
        "",
        report.to_markdown(),
        "",
        "Standard errors are over these users, of this one training: how much another "
        "random seed or another month of data would change is not in them.",
    ]
    return "\n".join(lines)


def fields_of(card: ModelCard, record: TrainingRecord | None) -> dict[str, str]:
    """What the page of every card has, by the names of its template."""
    train = card.train
    return {
        "package": package_version(),
        "data": f"Data: {sentence(card.data)}",
        "users": UNKNOWN if train is None else f"{train.num_users:,}",
        "entries": UNKNOWN if train is None else f"{train.num_entries:,}",
        "licence": licence_of(card),
        "training": training_table(record),
        "quality": quality_table(card.report),
        "use": use_and_limits(),
    }


def use_and_limits() -> str:
    """What every card says of use and limits."""
    page = resources.files("keras_multvae").joinpath("use_and_limits.md")
    return page.read_text(encoding="utf-8").rstrip()
