"""Which half of a model trains, from a count of batches inside the step."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_multvae import backend
from keras_multvae.schedules import Alternation
from keras_multvae.typing import Json, Tensor, Variable


@keras.saving.register_keras_serializable(package="keras_multvae")
class Turns(keras.layers.Layer):
    """Counts batches and passes for a model of two halves that train in turns.

    The count is a weight, so that a compiled step knows its own turn at any
    `steps_per_execution`, and a loaded model continues where it was. `AlternatingAdam`
    keeps a count of its own, as on JAX the optimiser cannot read the model's.

    Args:
        first: Int >= 1, passes that train the first half.
        second: Int >= 1, passes that train the second half.
        handover: Optional function without arguments that gives two lists of variables.
            After the first half's turn, the first list is assigned the values of the
            second. Not part of the configuration.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: Any tensor.
        training: Bool, whether to hand over if it is time.

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
        handover: Callable[[], tuple[list[Variable], list[Variable]]] | None = None,
        **kwargs: object,
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
            # All replicas count the same batches.
            aggregation="only_first_replica",
        )
        self.count.assign(self.alternation.begin(0, 1))
        self.built = True

    @property
    def passes(self) -> int:
        """The number of passes that have ended."""
        return int(np.asarray(backend.to_host(self.count))[1])

    def begin_pass(self, batches: int) -> None:
        """Begins a pass of this many batches."""
        self.count.assign(self.alternation.begin(self.passes, batches))

    def is_first(self) -> Tensor:
        """Whether the next batch trains the first half: a bool tensor."""
        return self.alternation.is_first(self._now())

    def is_handover(self) -> Tensor:
        """Whether the next batch is the second half's first one: a bool tensor."""
        return self.alternation.is_handover(self._now())

    def count_batch(self) -> None:
        """Counts one training batch."""
        self.count.assign(ops.stack(self.alternation.after_batch(self._now())))

    def _now(self) -> list[Tensor]:
        """The state as three scalar tensors; see `Alternation`."""
        return list(ops.unstack(ops.convert_to_tensor(self.count), 3))

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        # Here, as this layer has no mixed precision: in the call of a model that has,
        # reading a weight gives a 16-bit copy.
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
