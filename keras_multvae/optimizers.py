"""Adam in one pass over the weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_multvae import backend


@keras.saving.register_keras_serializable(package="keras_multvae")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, whose step reads and writes each number once.

    The item tables hold most of the weights, so an optimiser that makes a pass over
    memory for every operation of its formula takes longer than the network. This one
    calls the fused kernel of TensorFlow or PyTorch; on JAX the compiler fuses Keras'
    own formula. Arguments, state and results are those of `keras.optimizers.Adam`.

    Example:

    >>> optimizer = FusedAdam(1e-3, epsilon=1e-8)
    >>> optimizer.get_config()["epsilon"]
    1e-08

    References:
        - [Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980)
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """See `keras.optimizers.Optimizer.update_step`."""
        if self.amsgrad or not backend.fuses_adam(gradient, variable):
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        backend.adam_update(
            variable,
            self._momentums[index],
            self._velocities[index],
            gradient,
            step=ops.cast(self.iterations + 1, variable.dtype),
            learning_rate=learning_rate,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )
