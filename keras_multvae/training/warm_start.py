"""A training that begins with the weights of an earlier model, on grown data."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from keras_multvae import backend, registry
from keras_multvae.data import Vocabulary
from keras_multvae.models.weight_transfer import take_weights
from keras_multvae.settings import Settings, settings_of
from keras_multvae.training.recipe import Recipe
from keras_multvae.typing import Model


def check_warm_start(
    warm_start: object, recipe: Recipe, items: Vocabulary
) -> np.ndarray:
    """Where the items are in an earlier model; asked before anything is made.

    Args:
        warm_start: A `Recommender`: a model and its items.
        recipe: What is to be trained.
        items: Of the data.

    Returns:
        (items,) the index of each item in the model, -1 for a new one.

    Raises:
        TypeError: It has no model or no items.
        ValueError: A model of another class, or one that has none of the items.
    """
    model, known = (
        getattr(warm_start, "model", None),
        getattr(warm_start, "items", None),
    )
    if model is None or not isinstance(known, Vocabulary):
        raise TypeError(
            "`warm_start` must be a Recommender, as Recommender.load gives it. "
            f"Received: {type(warm_start).__name__}."
        )
    if type(model) is not registry.config_entry(recipe.model).model:
        raise ValueError(
            f"A {recipe.model_name} is to be trained, and the warm start is a "
            f"{type(model).__name__}: weights go over between models of one class."
        )
    places = known.lookup(items.ids)
    if not (places >= 0).any():
        raise ValueError(
            "The model of the warm start knows none of the items: its ids are as "
            f"{known.ids[0]!r}, those of the data as {items.ids[0]!r}."
        )
    return places


def take_over(warm_start: Any, model: Model, places: np.ndarray) -> None:
    """Gives a new model the weights of an earlier one, item by item.

    Raises:
        ValueError: They are of another size.
    """
    old = warm_start.model
    try:
        take_weights(old, model, places)
    except ValueError:
        raise ValueError(
            "The model of the warm start is of another size: "
            f"{_differences(old, model)}. Train with its settings, as its recipe has "
            "them."
        ) from None


def _differences(old: Any, new: Any) -> str:
    """The settings in which two models differ."""
    found = [
        f"{field.name} is {_value(old.settings, field.name)} there and "
        f"{_value(new.settings, field.name)} here"
        for field in settings_of(old.settings)
        if getattr(old.settings, field.name) != getattr(new.settings, field.name)
    ]
    return ", ".join(found) or "its weights have other shapes"


def _value(settings: Settings, name: str) -> Any:
    return settings.to_json()[name]


def weights_digest(model: Model) -> str:
    """SHA-256 of a model's weights: what a training began with."""
    sha = hashlib.sha256()
    for weight in model.weights:
        sha.update(np.ascontiguousarray(backend.to_host(weight)).view("uint8").data)
    return sha.hexdigest()
