"""The model card of a repository, with the metadata that the Hub reads."""

from __future__ import annotations

import math
from string import Template

from keras_multvae.abilities import GivesLogits, can
from keras_multvae.card import (
    UNKNOWN,
    ModelCard,
    fields_of,
    likelihood_of,
    network_of,
    parameters_of,
)
from keras_multvae.data import Vocabulary
from keras_multvae.extras import import_extra
from keras_multvae.recommender.address import Address
from keras_multvae.training.record import TrainingRecord
from keras_multvae.typing import Json, Model

TAGS = ("recommendation", "collaborative-filtering", "implicit-feedback")
PAGE = Template("""\
# $name

A recommender of keras_multvae $package: a user's history of items goes in, a ranking of all items comes out.

```python
from keras_multvae import Recommender

recommender = Recommender.load("$address")
print(recommender.recommend($example, k=5))
```

It needs `pip install "keras_multvae[hub]"` and a backend of Keras. Nothing in this repository is run: it holds weights, item ids and settings, with checksums.

## Model

| | |
| --- | --- |
$model

## Data
$data

| | |
| --- | --- |
| training users | $users |
| training entries (user, item) | $entries |

Licence of the data: $licence

$histories

## Training
$training

## Quality
$quality

$use
""")  # noqa: E501
WITHOUT = (
    "No user's history is in this repository: `recommend` takes histories, and knows "
    "no user ids."
)
WITH = (
    "**The histories of $users users are in this repository**, in the folder "
    "`histories`: who may read it may read what each of them chose."
)


def render(
    address: Address,
    model: Model,
    items: Vocabulary,
    users: int | None,
    training: TrainingRecord | None,
    card: ModelCard,
    older: Json,
) -> str:
    """The card as Markdown.

    Args:
        address: The repository.
        model: The model.
        items: Its items.
        users: Number of users whose histories go along; None without histories.
        training: Record of the training, if any.
        card: What else is known.
        older: The metadata of an older card, whose licence and so on stay.
    """
    text = PAGE.substitute(
        name=address.repo.partition("/")[2],
        address=address,
        example=items.ids[:2].tolist(),
        model="\n".join(f"| {name} | {each} |" for name, each in _rows(model, items)),
        histories=WITHOUT
        if users is None
        else Template(WITH).substitute(users=f"{users:,}"),
        **fields_of(card, training),
    )
    return f"---\n{_metadata(address, model, card, older)}\n---\n\n{text}"


def _rows(model: Model, items: Vocabulary) -> list[tuple[str, str]]:
    rows = [
        ("kind", type(model).__name__),
        ("items", f"{len(items):,}, ids of type {items.kind}"),
    ]
    if can(model, GivesLogits):
        rows += [
            ("network", network_of(model)),
            ("likelihood", likelihood_of(model)),
            ("parameters", f"{parameters_of(model):,}"),
        ]
    return rows


def _metadata(address: Address, model: Model, card: ModelCard, older: Json) -> str:
    """The YAML at the head of the card."""
    hub = import_extra("huggingface_hub", "hub")
    kept = {
        name: each
        for name, each in older.items()
        if name not in ("tags", "library_name", "pipeline_tag", "model-index")
    }
    given = older.get("tags")
    others = given if isinstance(given, list) else []
    tags = [*TAGS, type(model).__name__.lower(), *map(str, others)]
    name = address.repo.partition("/")[2]
    report = card.report
    metrics = [] if report is None else [(m, report.mean(m)) for m in report.metrics]
    results = [
        hub.EvalResult(
            task_type="recommendation",
            task_name="Ranking of all items for held-out users",
            dataset_type=name,
            dataset_name=card.data or UNKNOWN,
            metric_type=metric,
            metric_name=metric,
            metric_value=round(value, 6),
        )
        for metric, value in metrics
        if not math.isnan(value)
    ]
    data = hub.ModelCardData(
        **kept,
        library_name="keras_multvae",
        # The Hub's list of tasks has none for recommendation.
        pipeline_tag="other",
        tags=list(dict.fromkeys(tags)),
        model_name=name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())
