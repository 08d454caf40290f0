"""The way from histories to scores, compiled once."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from keras_multvae import backend
from keras_multvae.data.batches import pack
from keras_multvae.models.placement import placement_of


class Scoring:
    """A model's unmasked scores for batches of histories.

    `predict` would start anew for every batch: a loop over data, callbacks, on some
    backends a copy of all weights.

    Args:
        model: A `RankingModel`. Its weights are read at each call.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._variables: list[Any] = []

    def __call__(
        self, histories: sparse.csr_matrix, pad_to: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `RankingModel.unnormalized_scores`, which checked the histories."""
        # Other variables, as after `quantize`, make another function.
        variables = self._model.variables
        if list(map(id, variables)) != list(map(id, self._variables)):
            self._variables = variables
            self._compiled = backend.inference(self._forward, variables)
        users = histories.shape[0]
        inputs = pack(histories, np.arange(users), empty=max(pad_to - users, 0))
        with placement_of(self._model):
            values, constants = self._compiled(inputs)
        return values[:users], constants[:users]

    def _forward(self, inputs: Any) -> tuple[Any, Any]:
        model = self._model
        values, constants = model.likelihood.unnormalized_scores(model.logits(inputs))
        return values, constants
