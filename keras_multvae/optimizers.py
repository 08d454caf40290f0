"""Adam in one pass over the weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from keras_multvae import backend, compat


@keras.saving.register_keras_serializable(package="keras_multvae")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, whose step reads and writes each number once.

    The item tables hold most of the weights, so an optimiser that makes a pass over
    memory for every operation of its formula takes longer than the network. This one
    calls the fused kernel of TensorFlow or PyTorch; on JAX the compiler fuses Keras'
    own formula. Arguments, state and results are those of `keras.optimizers.Adam`.

    Of a table whose gradient is known to be zero but for some rows, as with a sampled
    softmax, it reads and writes those rows alone. That is not what Adam does: the
    moments of the other rows stay as they are, where Adam would let them decay and
    move the weights on; the correction of their bias counts all steps. Such a table and
    its moments may be bfloat16: rows are read to float32, and what is written back is
    rounded up or down at random with the odds that keep its mean, so that steps below
    the last place add up.

    Example:

    >>> optimizer = FusedAdam(1e-3, epsilon=1e-8)
    >>> optimizer.get_config()["epsilon"]
    1e-08

    References:
        - [Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980)
    """

    _to_load: Any = None

    @property
    def takes_rows(self) -> bool:
        """Whether a table's gradient may be some of its rows."""
        return not (
            self.amsgrad
            or self.weight_decay
            or self.clipnorm
            or self.clipvalue
            or self.global_clipnorm
            or self.use_ema
            or self.loss_scale_factor
            or self.gradient_accumulation_steps
        )

    def build_to_load(self, variables: list[Any]) -> None:
        """Puts the building off until there is a state to load.

        One that had none when its model was saved gets none, and no memory for it.
        """
        self._to_load = lambda: variables  # a list would be tracked and stored

    def load_own_variables(self, store: Any) -> None:
        """See `keras.optimizers.Optimizer`."""
        waiting, self._to_load = self._to_load, None
        if waiting is not None and len(store.keys()) > len(self.variables):
            self.build(waiting())
        super().load_own_variables(store)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """See `keras.optimizers.Optimizer.update_step`."""
        rows = backend.row_gradient(gradient) if self.takes_rows else None
        index = compat.variable_index(self, variable)
        momentums, velocities = compat.moments(self)
        if rows is not None:
            ids, gradients = rows
            # From the step, so that a resumed training rounds as it would have.
            seed = self.iterations * len(momentums) + index
            update = partial(backend.adam_rows, ids=ids, gradient=gradients, seed=seed)
        elif not self.amsgrad and backend.fuses_adam(gradient, variable):
            update = partial(backend.adam_update, gradient=gradient)
        else:
            super().update_step(gradient, variable, learning_rate)
            return
        update(
            variable=variable,
            momentum=momentums[index],
            velocity=velocities[index],
            step=self.iterations + 1,
            learning_rate=learning_rate,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )
