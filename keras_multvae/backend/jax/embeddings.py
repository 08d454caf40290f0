"""Item tables of which a step reads and writes a few rows, on JAX.

JAX's gradients have the shape of what they are taken of, so that of a table would be as
large as the table. Instead zeros are added to the rows that a step takes, and the
gradient is taken of those; then the rows' ids and gradients go to the optimiser in the
place of the table's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras

from keras_multvae import compat
from keras_multvae.backend.adam import adam_step
from keras_multvae.backend.jax import mesh
from keras_multvae.backend.jax.ops import _add_rows
from keras_multvae.typing import Model, Tensor, Variable

COMPILES = True


class SparseGradient(NamedTuple):
    """Distinct ids (rows,), with some past the table's end, and gradients."""

    ids: Any
    values: Any


class _Taken:
    """The rows that one pass through the network takes, in the order of the calls."""

    def __init__(self, offsets: list[Any] | None) -> None:
        self.offsets = offsets
        self.tables: list[Any] = []
        self.ids: list[Any] = []
        self.rows: list[Any] = []


_open: list[_Taken] = []


def unique_ids(item_ids: Tensor) -> tuple[Any, Any]:
    """See `keras_multvae.backend`: as many ids as there are entries, the rest none."""
    ids, places = jnp.unique(
        item_ids,
        return_inverse=True,
        size=item_ids.shape[0],
        fill_value=jnp.iinfo(item_ids.dtype).max,
    )
    return ids, places


def embedding_lookup(table: Tensor, ids: Tensor, sparse: bool) -> Tensor:
    """See `keras_multvae.backend`."""
    if not (sparse and _open):
        return _wide(jnp.take(table.value, ids, axis=0, mode="clip"))
    taken = _open[-1]
    rows = _wide(mesh.read_rows(jax.lax.stop_gradient(table.value), ids))
    if taken.offsets is not None:
        rows = rows + taken.offsets[len(taken.rows)]
    taken.tables.append(table)
    taken.ids.append(ids)
    taken.rows.append(rows)
    return rows


@jax.custom_vjp
def _entry_products(
    hidden: Tensor, table: Tensor, rows: Tensor, item_ids: Tensor
) -> Tensor:
    left = jnp.take(hidden, rows, axis=0, mode="clip")
    return (left * jnp.take(table, item_ids, axis=0, mode="clip")).sum(axis=1)


def _entry_products_forward(*arguments: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    return _entry_products(*arguments), arguments


def _entry_products_backward(
    saved: tuple[Any, ...], upstream: Tensor
) -> tuple[Tensor, ...]:
    hidden, table, rows, item_ids = saved
    return (
        _add_rows(table, item_ids, upstream, rows, hidden.shape[0]),
        _add_rows(hidden, rows, upstream, item_ids, table.shape[0]),
        None,
        None,
    )


_entry_products.defvjp(_entry_products_forward, _entry_products_backward)


def entry_products(
    hidden: Tensor, table: Tensor, entries_per_user: Tensor, rows: Tensor, item_ids: Tensor
) -> Tensor:
    """See `keras_multvae.backend`."""
    return _entry_products(hidden, table, rows, item_ids)


def sparse_gradient(gradient: Tensor) -> tuple[Any, Any] | None:
    """See `keras_multvae.backend`."""
    return gradient if isinstance(gradient, SparseGradient) else None


def sparse_adam_update(
    variable: Variable,
    momentum: Variable,
    velocity: Variable,
    ids: Tensor,
    gradient: Tensor,
    step: Tensor,
    seed: Any,
    learning_rate: Tensor,
    **rates: Any,
) -> None:
    """See `keras_multvae.backend`."""

    def update(
        tables: tuple[Any, ...],
        ids: Tensor,
        gradient: Tensor,
        step: Tensor,
        seed: Any,
        rate: Any,
    ) -> tuple[Tensor, ...]:
        weights, m, v = (
            _wide(jnp.take(each, ids, axis=0, mode="clip")) for each in tables
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
    # The sum is even on 0 ... 65535 for each number, though not for all together: what
    # one draw a number would add to that costs as much as the step.
    noise = jax.random.bits(of_rows, (values.shape[0], 1), "uint16")
    noise = noise + jax.random.bits(of_columns, (1, values.shape[1]), "uint16")
    bits = jax.lax.bitcast_convert_type(values, "uint32") + noise.astype("uint32")
    return jax.lax.bitcast_convert_type((bits >> 16).astype("uint16"), jnp.bfloat16)


def _wide(rows: Tensor) -> Tensor:
    return rows.astype("float32") if rows.dtype == jnp.bfloat16 else rows


# The parts of the state of Keras' steps, in their order.
TRAINING = (
    "trainable_variables",
    "non_trainable_variables",
    "optimizer_variables",
    "metrics_variables",
)
TESTING = ("trainable_variables", "non_trainable_variables", "metrics_variables")


class Training:
    """A training step in which the gradients of some tables are rows.

    And one that keeps the weights where it fails: Keras takes them from the variables
    for a step, and a step that cannot be traced would give none back.
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
            self.train_function = _kept(self, self.train_function, TRAINING)

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

    def train_step(self, state: Any, data: Any) -> Tensor:
        """As Keras' step, but for the gradients of tables in `embedding_lookup`."""
        model: Any = self
        if not self.sparse_gradients:
            return super().train_step(state, data)  # type: ignore[misc]
        trainable, non_trainable, of_optimizer, of_metrics = state
        batch = keras.utils.unpack_x_y_sample_weight(data)

        def loss(offsets: list[Any] | None, trainable: Any) -> Tensor:
            with _taking(offsets) as taken:
                value, results = compat.loss_and_updates(
                    model, trainable, non_trainable, of_metrics, batch, of_optimizer
                )
            tables.extend(taken.tables)
            return value, (results, taken.ids, taken.rows)

        tables: list[Any] = []
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


def _kept(model: Model, function: Any, names: tuple[str, ...]) -> Tensor:
    """A function of (state, iterator) that gives the state back where it fails."""

    def run(state: Any, iterator: Any) -> Tensor:
        try:
            return function(state, iterator)
        except Exception:
            # Once the step runs, the arrays are its own, and gone.
            if not any(each.is_deleted() for each in jax.tree.leaves(state)):
                compat.put_back(model, names, state)
            raise

    return run


@contextlib.contextmanager
def _taking(offsets: list[Any] | None) -> Iterator[_Taken]:
    _open.append(_Taken(offsets))
    try:
        yield _open[-1]
    finally:
        _open.pop()
