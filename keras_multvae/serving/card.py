"""The model card of an exported version."""

from __future__ import annotations

import datetime
from string import Template

from keras_multvae.card import (
    UNKNOWN,
    ModelCard,
    licence_of,
    likelihood_of,
    network_of,
    parameters_of,
    quality_table,
    sentence,
    training_table,
    use_and_limits,
)
from keras_multvae.extras import package_version
from keras_multvae.recommender import Recommender
from keras_multvae.serving.config import read_template

TEMPLATE = "MODEL_CARD.md"
WEIGHTS = {
    None: "float32",
    "bfloat16": "first-layer table and item matrix in bfloat16, the others in float32",
    "int8": "first-layer table and item matrix in int8 with a float32 scale for each "
    "item, the others in float32",
}


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
    train = card.train
    quality = quality_table(card.report)
    if card.report is not None and quantize is not None:
        quality += "\n\nMeasured before the weights were quantized."
    return Template(read_template(TEMPLATE)).substitute(
        name=name,
        version=version,
        package=package_version(),
        date=datetime.date.today().isoformat(),
        kind=type(model).__name__,
        network=network_of(model),
        likelihood=likelihood_of(model),
        parameters=f"{parameters_of(model):,}",
        weights=WEIGHTS[quantize],
        items=f"{model.num_items:,}",
        ids=recommender.items.kind,
        k=min(k, model.num_items),
        data=f"Data: {sentence(card.data)}",
        users=UNKNOWN if train is None else f"{train.num_users:,}",
        entries=UNKNOWN if train is None else f"{train.num_entries:,}",
        licence=licence_of(card),
        quality=quality,
        training=training_table(recommender.training),
        use=use_and_limits(),
    )
