"""Whether a training fits into memory."""

from __future__ import annotations

import math

import keras

from keras_multvae import backend
from keras_multvae.memory import require_memory
from keras_multvae.training.recipe import Recipe
from keras_multvae.typing import Model


def check_memory(model: Model, recipe: Recipe) -> None:
    """Raises `MemoryError` where what a training keeps cannot fit.

    Adam has two moments of each weight, and where all items are scored, there are the
    logits of a batch and their gradient. A GPU's memory is not asked after.
    """
    if backend.has_accelerator() or keras.distribution.distribution():
        return
    weights = sum(math.prod(each.shape) for each in model.trainable_variables)
    size, what = 8 * weights, f"Adam's moments of {weights:,} weights"
    if getattr(recipe.model, "head", None) is None:
        assert recipe.batch_size is not None
        size += 8 * recipe.batch_size * model.num_items
        what += f", and the logits of {recipe.batch_size:,} users,"
    require_memory(
        size,
        what,
        "Take smaller `hidden_dims` or a smaller `latent_dim`, a smaller `batch_size`, "
        "or SampledSoftmax (--head sampled) for many items.",
    )
