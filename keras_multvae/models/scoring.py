"""Compiled functions from histories to scores and to the best items."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from keras import ops
from scipy import sparse

from keras_multvae import backend, checks, ragged
from keras_multvae.backend.wide import wide_dtype, widen
from keras_multvae.data.batches import pack
from keras_multvae.models.device_scope import device_scope
from keras_multvae.typing import Model, Tensor, Variable


def score_itemsize(model: Model) -> int:
    """The bytes of a value of `RankingModel.unnormalized_scores`.

    bfloat16 logits are as exact as their float32 copies, and half as much to read. XLA
    keeps more digits than that within a compiled function.
    """
    narrow = model.compute_dtype == "bfloat16" and model.linear_path is None
    if narrow and model.likelihood.ranks_logits and backend.ROUNDS_EACH_RESULT:
        return 2
    return np.dtype(wide_dtype(model.compute_dtype)).itemsize


class CompiledScorer:
    """A model's unmasked scores for batches of histories.

    `predict` would set up a data loop and callbacks for every batch, and on some
    backends copy all weights.

    Args:
        model: A `RankingModel`. Its weights are read at each call.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._variables: list[Variable] = []
        self._compiled: dict[object, Callable[[Tensor], tuple[np.ndarray, ...]]] = {}

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
        """The k best items, found on the device; see `ranking.rank`.

        Returns:
            Indices int (users, k), into `allowed` if it is given, their scores float32
            (users, k), -inf for items of the history.
        """
        key = (k, exclude_seen, allowed is not None)

        def function(inputs: Tensor) -> tuple[Tensor, ...]:
            batch, allowed = inputs
            return self._best(batch, allowed, k, exclude_seen)

        indices, scores, ranked = self._run(key, function, histories, pad_to, allowed)
        if not ranked.all():
            raise checks.diverged()
        return indices, scores

    def _run(
        self,
        key: object,
        function: Callable[[Tensor], tuple[Tensor, ...]],
        histories: sparse.csr_matrix,
        pad_to: int,
        *others: np.ndarray | None,
    ) -> tuple[np.ndarray, ...]:
        """Compiles a function once for each key, and calls it for histories."""
        # Compile again if the variables have changed, as after `quantize`.
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

    def _parts(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Scores as two tensors; see `RankingModel.unnormalized_scores`."""
        likelihood, logits = self._model.likelihood, self._model.logits(inputs)
        if score_itemsize(self._model) != 2:
            logits = widen(logits)
        values, constants = likelihood.unnormalized_scores(logits)
        return values, widen(constants)

    def _best(
        self, inputs: Tensor, allowed: object, k: int, exclude_seen: bool
    ) -> tuple[Tensor, ...]:
        """Indices and scores of the best items, and whether all scores are numbers."""
        values, constants = self._parts(inputs)
        scores = widen(values) - constants[:, None]
        ranked = ops.logical_not(ops.any(ops.isnan(scores), axis=1))
        if exclude_seen:
            seen = ragged.to_dense(inputs, self._model.num_items) > 0
            scores = ops.where(seen, -np.inf, scores)
        if allowed is not None:
            scores = ops.take(scores, allowed, axis=1)
        scores, indices = backend.top_k(scores, k)
        return indices, scores, ranked
