"""Whose turn it is to train, counted inside the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_multvae import backend
from keras_multvae.schedules import Alternation
from keras_multvae.typing import Json, Tensor


@keras.saving.register_keras_serializable(package="keras_multvae")
class Turns(keras.layers.Layer):
    """Counts batches and passes for a model of two halves that train in turns.

    The count is a weight, so that a compiled step knows its own turn at any
    `steps_per_execution`, and a saved model goes on where it was. `AlternatingAdam` has
    the same count for itself: on JAX the optimiser's step does not see the model's.

    Args:
        first: Int >= 1, passes that train the first half.
        second: Int >= 1, passes that train the second half.
        handover: Optional function without arguments that gives two lists of variables.
            When the first half's turn has ended, the first list takes the values of
            the second. Not part of the configuration.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: Any tensor.
        training: Bool, whether this is a training batch, before which to hand over.

    Returns:
        The inputs.

    Example:

    >>> turns = Turns(first=1, second=1)
    >>> turns.begin_pass(batches=1)
    >>> bool(turns.is_first()), turns.count_batch(), bool(turns.is_first())
    (True, None, False)
    """

    def __init__(
        self,
        first: int = 3,
        second: int = 1,
        handover: Callable[[], tuple[list[Any], list[Any]]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._handover = handover
        self.alternation = Alternation(first, second)
        self.count = self.add_weight(
            name="count",
            shape=(3,),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            autocast=False,
            # Replicas count the same batches, they do not add up.
            aggregation="only_first_replica",
        )
        self.count.assign(self.alternation.begin(0, 1))
        self.built = True

    @property
    def passes(self) -> int:
        """Passes that were ended so far."""
        return int(np.asarray(backend.to_host(self.count))[1])

    def begin_pass(self, batches: int) -> None:
        """A pass of so many batches begins."""
        self.count.assign(self.alternation.begin(self.passes, batches))

    def is_first(self) -> Tensor:
        """Whether the next batch trains the first half: a bool tensor."""
        return self.alternation.is_first(self._now())

    def is_handover(self) -> Any:
        """Whether the next batch is the second half's first one: a bool tensor."""
        return self.alternation.is_handover(self._now())

    def count_batch(self) -> None:
        """One more training batch."""
        self.count.assign(ops.stack(self.alternation.after_batch(self._now())))

    def _now(self) -> list[Any]:
        return list(ops.unstack(ops.convert_to_tensor(self.count), 3))

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        # In a call of this layer, which has no mixed precision: in that of a model
        # that has, a weight reads as a 16-bit copy of itself.
        if training and self._handover is not None:
            old, new = self._handover()
            backend.assign_if(
                self.is_handover(), old, lambda: list(map(ops.convert_to_tensor, new))
            )
        return inputs

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        first, second = self.alternation.first, self.alternation.second
        return {**super().get_config(), "first": first, "second": second}
