"""Adam in one pass over the weights, and Adam for two halves in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras
from keras import ops

from keras_multvae import backend, compat
from keras_multvae.backend.adam import adam_step
from keras_multvae.schedules import Alternation
from keras_multvae.typing import Json, Store, Tensor, Variable


@keras.saving.register_keras_serializable(package="keras_multvae")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, in a single pass over memory.

    The item embeddings hold most of the weights, so an optimiser that goes over memory
    once for each operation of its formula takes longer than the network. This one calls
    the fused kernel of TensorFlow or PyTorch; on JAX the compiler fuses Keras' own
    formula. Arguments, state and results are those of `keras.optimizers.Adam`.

    For a sparse gradient, as with a sampled softmax, it reads and writes the rows of
    that gradient alone. This differs from Adam: the moments of the other rows stay
    unchanged, where Adam would decay them and move the weights; the bias corrections
    count all steps. Such an embedding matrix and its moments may be bfloat16. Steps are
    computed in float32, and results are rounded up or down at random so that their mean
    is preserved and small steps add up.

    Example:

    >>> optimizer = FusedAdam(1e-3, epsilon=1e-8)
    >>> optimizer.get_config()["epsilon"]
    1e-08

    References:
        - [Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980)
    """

    _to_load: Callable[[], list[Variable]] | None = None

    def __repr__(self) -> str:
        # As of Keras' layers. The learning rate is a variable, which not even a step
        # that is being compiled may read.
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    @property
    def takes_sparse_gradients(self) -> bool:
        """Whether the gradient of an embedding matrix may be sparse."""
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

    def build_to_load(self, variables: list[Variable]) -> None:
        """Delays `build` until there is a state to load.

        An optimiser that was saved without state stays without, and takes no memory.
        """
        self._to_load = lambda: variables  # a list would be tracked and stored

    def load_own_variables(self, store: Store) -> None:
        """See `keras.optimizers.Optimizer`."""
        waiting, self._to_load = self._to_load, None
        if waiting is not None and len(store.keys()) > len(self.variables):
            self.build(waiting())
        super().load_own_variables(store)

    def update_step(
        self, gradient: Tensor, variable: Variable, learning_rate: Tensor
    ) -> None:
        """See `keras.optimizers.Optimizer.update_step`."""
        rows = (
            backend.sparse_gradient(gradient) if self.takes_sparse_gradients else None
        )
        index = compat.variable_index(self, variable)
        momentums, velocities = compat.moments(self)
        if rows is not None:
            ids, gradients = rows
            # Derived from the step, so that a resumed training rounds in the same way.
            seed = self.iterations * len(momentums) + index
            update = partial(
                backend.sparse_adam_update, ids=ids, gradient=gradients, seed=seed
            )
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


@keras.saving.register_keras_serializable(package="keras_multvae")
class AlternatingAdam(FusedAdam):
    """Two Adams, one for each half of a network, that train in turns.

    Every step updates one half, by an Adam that counts the steps of that half alone.
    Weights, moments and count of the other half do not change at all; with a zero
    gradient they would. The turn follows from a count of batches in a variable, so it
    is right at any `steps_per_execution`.

    A model such as `RecVAE` calls `alternate` when it is compiled, and `begin_pass`
    when a training begins.

    Args:
        learning_rate: Float, or a `LearningRateSchedule` of all steps together.
        beta_1: Float in [0, 1), decay of the mean of gradients.
        beta_2: Float in [0, 1), decay of the mean of squared gradients.
        epsilon: Float > 0, added to the root of the mean of squared gradients.
        name: The name of the optimiser.

    Raises:
        ValueError: When it is built for a model that has not called `alternate`.

    Example:

    >>> AlternatingAdam(1e-3).get_config()["epsilon"]
    1e-08

    References:
        - [Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980)
        - [Shenbin et al., 2020](https://arxiv.org/abs/1912.11160)
    """

    def __init__(
        self,
        learning_rate: Tensor = 5e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        name: str = "alternating_adam",
    ) -> None:
        # Clipping, averaging and the like would have to take turns into account.
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name=name)
        self._turns: Alternation | None = None
        # By identity, as variables in an attribute would be tracked as the optimiser's.
        self._first: set[int] = set()

    @property
    def takes_sparse_gradients(self) -> bool:
        """False, as a step updates whole matrices."""
        return False

    def alternate(self, turns: Alternation, first: Sequence[Variable]) -> None:
        """Sets the variables of the first half, and how many passes each half has."""
        self._turns, self._first = turns, set(map(id, first))

    def build(self, variables: Sequence[Variable]) -> None:
        """See `keras.optimizers.Optimizer.build`."""
        if self.built:
            return
        if self._turns is None:
            raise ValueError(
                "AlternatingAdam trains a model of two halves, which calls its "
                "`alternate`, as RecVAE does. For other models take FusedAdam."
            )
        super().build(variables)
        self._halves = [int(id(variable) not in self._first) for variable in variables]
        # For each half, the `iterations` of its Adam.
        self.half_steps = [self._count((), f"{half}_steps") for half in ("one", "two")]
        self.state = self._count((3,), "state")
        self.begin_pass(0, 1)

    def _count(self, shape: tuple[int, ...], name: str) -> Variable:
        return self.add_variable(
            shape, dtype="int32", name=name, aggregation="only_first_replica"
        )

    def begin_pass(self, passes: int, batches: int) -> None:
        """Begins a pass of this many batches, after this many passes."""
        assert self._turns is not None
        self.state.assign(self._turns.begin(passes, batches))

    def apply(
        self, grads: list[Tensor], trainable_variables: list[Variable] | None = None
    ) -> None:
        """See `keras.optimizers.Optimizer.apply`."""
        variables = trainable_variables
        if variables is None:
            variables = self._trainable_variables
        self.build(variables)
        assert self._turns is not None
        # A backend may have no gradients for the half that does not train. If gradients
        # of some of its variables are missing, Keras raises an error.
        missing = {
            half
            for half in (0, 1)
            if all(
                grad is None
                for grad, variable in zip(grads, variables, strict=True)
                if self._half_of(variable) == half
            )
        }
        kept = [
            (grad, variable)
            for grad, variable in zip(grads, variables, strict=True)
            if self._half_of(variable) not in missing
        ]
        super().apply(*map(list, zip(*kept, strict=True)))
        state = ops.unstack(ops.convert_to_tensor(self.state), 3)
        is_first = ops.cast(self._turns.is_first(state), "int32")
        for steps, taken in zip(self.half_steps, (is_first, 1 - is_first), strict=True):
            steps.assign_add(taken)
        self.state.assign(ops.stack(self._turns.after_batch(state)))

    def _half_of(self, variable: Variable) -> int:
        """0 or 1, the half that a variable belongs to."""
        return self._halves[compat.variable_index(self, variable)]

    def update_step(
        self, gradient: Tensor, variable: Variable, learning_rate: Tensor
    ) -> None:
        """See `keras.optimizers.Optimizer.update_step`."""
        assert self._turns is not None
        index = compat.variable_index(self, variable)
        half = self._half_of(variable)
        moves = self._turns.is_first(ops.unstack(ops.convert_to_tensor(self.state), 3))
        if half:
            moves = ops.logical_not(moves)
        momentums, velocities = compat.moments(self)
        moved = (variable, momentums[index], velocities[index])
        given = {
            "gradient": gradient,
            "step": ops.convert_to_tensor(self.half_steps[half]) + 1,
            "learning_rate": ops.convert_to_tensor(learning_rate),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
        if backend.fuses_adam(gradient, variable):
            backend.run_if(moves, partial(backend.adam_update, *moved, **given))
            return
        weights = map(ops.convert_to_tensor, moved)
        backend.assign_if(moves, moved, partial(adam_step, *weights, **given))

    def get_config(self) -> Json:
        """See `keras.optimizers.Optimizer.get_config`."""
        names = ("name", "learning_rate", "beta_1", "beta_2", "epsilon")
        config = super().get_config()
        return {name: config[name] for name in names}
