"""What keras.ops lacks, or computes in more passes than it takes; one interface.

Each module offers, for a ragged batch (see docs/architecture.md) with `rows`, the user
index of every entry (int32 or int64, ascending):

- `rows(entries_per_user, item_ids)`: that user index.
- `sparse_dense_matmul(entries_per_user, rows, item_ids, values, kernel)`: the product of the sparse
  (users, items) matrix with the dense kernel (items, units), differentiable in the
  kernel.
- `affine(inputs, kernel, bias)`: `inputs @ kernel + bias`, differentiable.
- `to_dense(rows, item_ids, values, shape)`: the entries added up in a dense matrix.
- `add_item_weights(logits, rows, item_ids, values, lengths, columns, weights)`: the
  product of the sparse (users, items) matrix with a sparse (items, items) one, added to
  logits (users, items). The latter's entries, `columns` and `weights`, lie row after
  row, `lengths` (items,) of them each.
- `segment_sum(values, rows, users)`: sums of each user's entries, (users,).
- `normal(shape, seeds)`: float32 drawn from N(0, 1), by a `layers.seeded.Seeds`.
- `dropout(values, rate, seeds)`: values with some set to 0, the others divided by what
  share is kept.
- `gather_nd(matrix, rows, item_ids)`: `matrix[row, item]` of each entry, differentiable.
- `multinomial_nll(logits, rows, item_ids, values)`: minus the multinomial
  log-likelihood of each user, (users,), differentiable in the logits.
- `log_sum_exp(logits)`: of each user's logits, (users,).
- `top_k(scores, k)`: values and indices of the k largest of each row, (users, k), the
  largest first; of equal ones the lower index first, as `ops.top_k` does on two of the
  three. -0 and 0 are equal.
- `fuses_adam(gradient, variable)`: whether `adam_update` can take the two.
- `adam_update(variable, momentum, velocity, gradient, step, learning_rate, beta_1,
  beta_2, epsilon)`: one step of Keras' Adam in one pass; `step` counts from 1.
- `without_gradients(condition, variables)`: a context for a forward pass; where a bool tensor is
  true, the backend need not compute the gradients of these variables. PyTorch does not.
- `run_if(condition, function)`: calls it, for what it does in place, where a bool
  tensor of the step is true; None on JAX, where nothing is done in place.
- `assign_if(condition, variables, values)`: assigns what `values()` gives to the
  variables where a bool tensor is true; where it is not, nothing is computed.
- `unique_ids(item_ids)`: distinct ids, and the place of each entry's id among them.
  Ids past the end of every table may follow: JAX has to know their number beforehand.
- `embedding_lookup(table, ids, sparse)`: rows of a variable (items, units), float32 where that
  is bfloat16; with `sparse`, the optimiser gets their gradients in place of the
  table's. The ids must be distinct.
- `entry_products(hidden, table, entries_per_user, rows, item_ids)`: for each entry the inner
  product of its rows in `hidden` and in `table`, differentiable in the two.
- `sparse_gradient(gradient)`: ids and gradients of rows, or None for an ordinary gradient.
- `sparse_adam_update(variable, momentum, velocity, ids, gradient, ..., seed)`: as `adam_update`,
  for the rows `ids` alone. The step is in float32; what is kept in bfloat16 is rounded
  at random, by the integer `seed` of this step and table.
- `round_at_random(values, seed)`: float32 (rows, units) to bfloat16, up or down with
  the odds that keep the mean. To nearest, what changes by less than half a unit of the
  last place, as a velocity does in each step, would never change.
- `Training`: what `fit` of a `keras.Model` needs of the backend: gradients of rows, by
  the model's `sparse_gradients`; on PyTorch with a GPU recorded steps, if `steps_alike`.
  `sparse_gradients_compile`: whether all this may be compiled by XLA.
- `to_host(variable)`: its value as a NumPy array, wherever its parts are; all processes
  of a distributed training must ask at the same time.
- `is_main_process()`: whether this is the process that writes files.
- `broadcast(value)`: the first process' bool, on all of them.
- `retain_freed_memory()`: a context in which freed memory is kept for the next step.
- `on_host()`: a context for what the host reads at every step, as PyTorch's seeds: it
  would wait for a GPU to have done all before.
- `has_accelerator()`: whether models compute on something else than the host's CPU.
- `upload(batch)`: NumPy arrays brought to the device, in the thread that makes batches
  ahead, where the backend would not do so while a step runs.
- `num_replicas()`: replicas whose gradients the optimiser will add up.
- `compile_inference(function, variables)`: a function of a batch, which returns a tuple of
  tensors, without gradients and compiled where the backend compiles; NumPy arrays in
  and out. `variables` are those that it reads, at each call anew.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import keras

# The axis of a mesh of devices over which item embeddings are split up.
ITEMS = "items"
SUPPORTED = ("tensorflow", "jax", "torch")

if keras.backend.backend() not in SUPPORTED:
    raise ImportError(
        f"keras_multvae runs on the Keras backends {', '.join(SUPPORTED)}; the active "
        f"one is {keras.backend.backend()!r}. Set the environment variable "
        "KERAS_BACKEND before Keras is imported."
    )

_module = import_module(f"{__name__}.{keras.backend.backend()}.ops")
segment_ids = _module.segment_ids
sparse_dense_matmul = _module.sparse_dense_matmul
affine = _module.affine
to_dense = _module.to_dense
add_item_weights = _module.add_item_weights
segment_sum = _module.segment_sum
normal = _module.normal
dropout = _module.dropout
gather_nd = _module.gather_nd
multinomial_nll = _module.multinomial_nll
log_sum_exp = _module.log_sum_exp
top_k = _module.top_k
fuses_adam = _module.fuses_adam
adam_update: Any = getattr(_module, "adam_update", None)
without_gradients = _module.without_gradients
run_if: Any = getattr(_module, "run_if", None)
assign_if = _module.assign_if
_rows = import_module(f"{__name__}.{keras.backend.backend()}.rows")
unique_ids = _rows.unique_ids
embedding_lookup = _rows.embedding_lookup
entry_products = _rows.entry_products
sparse_gradient = _rows.sparse_gradient
sparse_adam_update = _rows.sparse_adam_update
round_at_random = _rows.round_at_random
_on_torch = keras.backend.backend() == "torch"
_training = import_module(f"{__name__}.torch.graphs") if _on_torch else _rows
Training: Any = _training.Training
sparse_gradients_compile = _rows.COMPILES
_on_jax = keras.backend.backend() == "jax"
_processes = import_module(f"{__name__}.{'jax.process' if _on_jax else 'one_process'}")
to_host = _processes.to_host
is_main_process = _processes.is_main_process
broadcast = _processes.broadcast
retain_freed_memory = _module.retain_freed_memory
on_host = _module.on_host
has_accelerator = _module.has_accelerator
upload = _module.upload
num_replicas = _module.num_replicas
compile_inference = _module.compile_inference
