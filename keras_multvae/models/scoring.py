"""The ways from histories to scores and to the best items, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops
from scipy import sparse

from keras_multvae import backend, ragged, checks
from keras_multvae.data.batches import pack
from keras_multvae.models.device_scope import device_scope
from keras_multvae.typing import Model, Tensor


class CompiledScorer:
    """A model's unmasked scores for batches of histories.

    `predict` would start anew for every batch: a loop over data, callbacks, on some
    backends a copy of all weights.

    Args:
        model: A `RankingModel`. Its weights are read at each call.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._variables: list[Any] = []
        self._compiled: dict[Any, Callable[[Any], tuple[np.ndarray, ...]]] = {}

    def __call__(
        self, histories: sparse.csr_matrix, pad_to: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `RankingModel.unnormalized_scores`, which checked the histories."""
        found = self._run(None, self._parts, histories, pad_to)
        return found[0], found[1]

    def best(
        self,
        histories: sparse.csr_matrix,
        k: int,
        exclude_seen: bool,
        allowed: np.ndarray | None,
        pad_to: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items, found where the scores are; see `ranking.rank`.

        Returns:
            Indices int (users, k), among `allowed` where that is given, and their
            scores float32 (users, k), -inf for those of the history.
        """
        key = (k, exclude_seen, allowed is not None)

        def function(inputs: Tensor) -> tuple[Any, ...]:
            batch, allowed = inputs
            return self._best(batch, allowed, k, exclude_seen)

        indices, scores, ranked = self._run(key, function, histories, pad_to, allowed)
        if not ranked.all():
            raise checks.diverged()
        return indices, scores

    def _run(
        self,
        key: object,
        function: Callable[[Any], tuple[Any, ...]],
        histories: sparse.csr_matrix,
        pad_to: int,
        *others: Any,
    ) -> tuple[np.ndarray, ...]:
        # Other variables, as after `quantize`, make another function.
        variables = self._model.variables
        if list(map(id, variables)) != list(map(id, self._variables)):
            self._variables = variables
            self._compiled = {}
        if key not in self._compiled:
            self._compiled[key] = backend.compile_inference(function, variables)
        users = histories.shape[0]
        inputs = pack(histories, np.arange(users), empty=max(pad_to - users, 0))
        with device_scope(self._model):
            found = self._compiled[key]((inputs, *others) if others else inputs)
        return tuple(array[:users] for array in found)

    def _parts(self, inputs: Tensor) -> tuple[Any, Any]:
        model = self._model
        values, constants = model.likelihood.unnormalized_scores(model.logits(inputs))
        return values, constants

    def _best(
        self, inputs: Tensor, allowed: object, k: int, exclude_seen: bool
    ) -> tuple[Any, ...]:
        values, constants = self._parts(inputs)
        scores = values - constants[:, None]
        ranked = ops.logical_not(ops.any(ops.isnan(scores), axis=1))
        if exclude_seen:
            seen = ragged.to_dense(inputs, self._model.num_items) > 0
            scores = ops.where(seen, -np.inf, scores)
        if allowed is not None:
            scores = ops.take(scores, allowed, axis=1)
        scores, indices = backend.top_k(scores, k)
        return indices, scores, ranked
