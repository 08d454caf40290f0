"""The model card of an exported version."""

from __future__ import annotations

import datetime
from string import Template

from keras_multvae.card import (
    ModelCard,
    fields_of,
    likelihood_of,
    network_of,
    parameters_of,
)
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
    fields = fields_of(card, recommender.training)
    if card.report is not None and quantize is not None:
        fields["quality"] += "\n\nMeasured before the weights were quantized."
    return Template(read_template(TEMPLATE)).substitute(
        name=name,
        version=version,
        date=datetime.date.today().isoformat(),
        kind=type(model).__name__,
        network=network_of(model),
        likelihood=likelihood_of(model),
        parameters=f"{parameters_of(model):,}",
        weights=WEIGHTS[quantize],
        items=f"{model.num_items:,}",
        ids=recommender.items.kind,
        k=min(k, model.num_items),
        **fields,
    )
