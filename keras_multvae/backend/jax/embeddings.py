"""Item embeddings of which a step reads and writes some rows, on JAX.

On JAX a gradient has the shape of its variable: that of an embedding matrix would be as
large as the matrix. So the step adds zeros to the rows that it looks up, and
differentiates with respect to these zeros. The optimiser gets ids and gradients of the
rows in place of a gradient of the matrix.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import keras

from keras_multvae import compat
from keras_multvae.backend.adam import adam_step
from keras_multvae.backend.jax import mesh
from keras_multvae.backend.jax.ops import _add_rows
from keras_multvae.backend.wide import widen
from keras_multvae.heap import trim
from keras_multvae.typing import Model, State, Tensor, Variable

COMPILES = True
Step: TypeAlias = Callable[[State, Iterator[object]], Tensor]


class SparseGradient(NamedTuple):
    """Distinct ids (rows,), some past the end of the matrix, and their gradients."""

    ids: Tensor
    values: Tensor


class _Taken:
    """The rows that one forward pass looks up, in the order of the calls."""

    def __init__(self, offsets: list[Tensor] | None) -> None:
        self.offsets = offsets
        self.tables: list[Variable] = []
        self.ids: list[Tensor] = []
        self.rows: list[Tensor] = []


_open: list[_Taken] = []


def unique_ids(item_ids: Tensor) -> tuple[Tensor, Tensor]:
    """See `keras_multvae.backend`: as many ids as there are entries, the rest none."""
    ids, places = jnp.unique(
        item_ids,
        return_inverse=True,
        size=item_ids.shape[0],
        fill_value=jnp.iinfo(item_ids.dtype).max,
    )
    return ids, places


def embedding_lookup(embeddings: Tensor, ids: Tensor, sparse: bool) -> Tensor:
    """See `keras_multvae.backend`."""
    if not (sparse and _open):
        return widen(jnp.take(embeddings.value, ids, axis=0, mode="clip"))
    taken = _open[-1]
    rows = widen(mesh.read_rows(jax.lax.stop_gradient(embeddings.value), ids))
    if taken.offsets is not None:
        rows = rows + taken.offsets[len(taken.rows)]
    taken.tables.append(embeddings)
    taken.ids.append(ids)
    taken.rows.append(rows)
    return rows


@jax.custom_vjp
def _entry_products(
    hidden: Tensor, embeddings: Tensor, segment_ids: Tensor, item_ids: Tensor
) -> Tensor:
    left = jnp.take(hidden, segment_ids, axis=0, mode="clip")
    return (left * jnp.take(embeddings, item_ids, axis=0, mode="clip")).sum(axis=1)


def _entry_products_forward(*arguments: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return _entry_products(*arguments), arguments


def _entry_products_backward(
    saved: tuple[Tensor, ...], upstream: Tensor
) -> tuple[Tensor, ...]:
    hidden, embeddings, segment_ids, item_ids = saved
    return (
        _add_rows(embeddings, item_ids, upstream, segment_ids, hidden.shape[0]),
        _add_rows(hidden, segment_ids, upstream, item_ids, embeddings.shape[0]),
        None,
        None,
    )


_entry_products.defvjp(_entry_products_forward, _entry_products_backward)


def entry_products(
    hidden: Tensor,
    embeddings: Tensor,
    entries_per_user: Tensor,
    segment_ids: Tensor,
    item_ids: Tensor,
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _entry_products(hidden, embeddings, segment_ids, item_ids)


def sparse_gradient(gradient: Tensor) -> tuple[Tensor, Tensor] | None:
    """See `keras_multvae.backend`."""
    return gradient if isinstance(gradient, SparseGradient) else None


def sparse_adam_update(
    variable: Variable,
    momentum: Variable,
    velocity: Variable,
    ids: Tensor,
    gradient: Tensor,
    step: Tensor,
    seed: Tensor,
    learning_rate: Tensor,
    **rates: float,
) -> None:
    """See `keras_multvae.backend`."""

    def update(
        tables: tuple[Tensor, ...],
        ids: Tensor,
        gradient: Tensor,
        step: Tensor,
        seed: Tensor,
        rate: Tensor,
    ) -> tuple[Tensor, ...]:
        weights, m, v = (
            widen(jnp.take(each, ids, axis=0, mode="clip")) for each in tables
        )
        after = list(adam_step(weights, m, v, gradient, step, rate, **rates))
        for number, table in enumerate(tables):
            if table.dtype == jnp.bfloat16:
                after[number] = round_at_random(after[number], 3 * seed + number)
        return tuple(
            table.at[ids].set(rows, mode="drop", unique_indices=True)
            for table, rows in zip(tables, after, strict=True)
        )

    variables = (variable, momentum, velocity)
    tables = tuple(each.value for each in variables)
    rate = keras.ops.convert_to_tensor(learning_rate)
    after = mesh.update_rows(update, tables, ids, gradient, step, seed, rate)
    for each, value in zip(variables, after, strict=True):
        each.assign(value)


def round_at_random(values: Tensor, seed: object) -> Tensor:
    """See `keras_multvae.backend`."""
    of_rows, of_columns = jax.random.split(jax.random.key(seed))
    # Each sum is uniform on 0 ... 65535, though sums are not independent of one
    # another: one draw for each number would cost as much as the step.
    noise = jax.random.bits(of_rows, (values.shape[0], 1), "uint16")
    noise = noise + jax.random.bits(of_columns, (1, values.shape[1]), "uint16")
    bits = jax.lax.bitcast_convert_type(values, "uint32") + noise.astype("uint32")
    return jax.lax.bitcast_convert_type((bits >> 16).astype("uint16"), jnp.bfloat16)


# The groups of variables in the state of Keras' steps, in order.
TRAINING = (
    "trainable_variables",
    "non_trainable_variables",
    "optimizer_variables",
    "metrics_variables",
)
TESTING = ("trainable_variables", "non_trainable_variables", "metrics_variables")


class Training:
    """A training step with sparse gradients of some embedding matrices.

    If the step fails, the model keeps its weights: Keras moves them out of the
    variables for a step, and would not put them back if the step cannot be traced.
    """

    sparse_gradients: bool
    train_function: Any
    test_function: Any
    predict_function: Any

    def make_train_function(self, force: bool = False) -> None:
        """See `keras.Model`."""
        made = self.train_function
        super().make_train_function(force)  # type: ignore[misc]
        if self.train_function is not made:
            function = _trimmed(self.train_function)
            self.train_function = _kept(self, function, TRAINING)

    def make_test_function(self, force: bool = False) -> None:
        """See `keras.Model`."""
        made = self.test_function
        super().make_test_function(force)  # type: ignore[misc]
        if self.test_function is not made:
            self.test_function = _kept(self, self.test_function, TESTING)

    def make_predict_function(self, force: bool = False) -> None:
        """See `keras.Model`."""
        made = self.predict_function
        super().make_predict_function(force)  # type: ignore[misc]
        if self.predict_function is not made:
            self.predict_function = _kept(self, self.predict_function, TESTING[:2])

    def train_step(self, state: State, data: object) -> Tensor:
        """Keras' step, with sparse gradients for `embedding_lookup`."""
        model: Model = self
        if not self.sparse_gradients:
            return super().train_step(state, data)  # type: ignore[misc]
        trainable, non_trainable, of_optimizer, of_metrics = state
        batch = keras.utils.unpack_x_y_sample_weight(data)

        def loss(offsets: list[Tensor] | None, trainable: list[Tensor]) -> Tensor:
            with _taking(offsets) as taken:
                value, results = compat.loss_and_updates(
                    model, trainable, non_trainable, of_metrics, batch, of_optimizer
                )
            tables.extend(taken.tables)
            return value, (results, taken.ids, taken.rows)

        tables: list[Variable] = []
        _, (_, _, shapes) = jax.eval_shape(lambda: loss(None, trainable))
        tables.clear()
        zeros = [jnp.zeros(each.shape, each.dtype) for each in shapes]
        (_, (results, ids, _)), (of_rows, gradients) = jax.value_and_grad(
            loss, argnums=(0, 1), has_aux=True
        )(zeros, trainable)
        places = {id(each): i for i, each in enumerate(model.trainable_variables)}
        for table, *of_table in zip(tables, ids, of_rows, strict=True):
            gradients[places[id(table)]] = SparseGradient(*of_table)
        unscaled, y_pred, non_trainable, of_metrics = results
        trainable, of_optimizer = model.optimizer.stateless_apply(
            of_optimizer, gradients, trainable
        )
        logs, of_metrics = compat.update_metrics(
            model, of_metrics, unscaled, batch, y_pred
        )
        return logs, (trainable, non_trainable, of_optimizer, of_metrics)


def _kept(model: Model, function: Step, names: tuple[str, ...]) -> Step:
    """Wraps a function of (state, iterator) to put the state back if it fails."""

    def run(state: State, iterator: Iterator[object]) -> Tensor:
        try:
            return function(state, iterator)
        except Exception:
            # Once the step runs, it owns the arrays and has deleted them.
            if not any(each.is_deleted() for each in jax.tree.leaves(state)):
                compat.put_back(model, names, state)
            raise

    return run


def _trimmed(function: Step) -> Step:
    """Returns what compiling the step has freed to the system after the first one.

    Where freed memory is retained, it would stay in pieces too small for a step.
    """
    compiled = False

    def run(state: State, iterator: Iterator[object]) -> Tensor:
        nonlocal compiled
        found = function(state, iterator)
        if not compiled:
            compiled = True
            trim()
        return found

    return run


@contextlib.contextmanager
def _taking(offsets: list[Tensor] | None) -> Iterator[_Taken]:
    """A context in which `embedding_lookup` registers the rows that it looks up."""
    _open.append(_Taken(offsets))
    try:
        yield _open[-1]
    finally:
        _open.pop()
