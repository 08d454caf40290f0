"""What keras.ops lacks, or computes in more passes than it takes; one interface.

Each module offers, for a bag batch (see docs/architecture.md) with `rows`, the user
index of every entry (int32 or int64, ascending):

- `rows(bag_sizes, item_ids)`: that user index.
- `bag_matmul(bag_sizes, rows, item_ids, values, kernel)`: the product of the sparse
  (users, items) matrix with the dense kernel (items, units), differentiable in the
  kernel.
- `affine(inputs, kernel, bias)`: `inputs @ kernel + bias`, differentiable.
- `to_dense(rows, item_ids, values, shape)`: the entries added up in a dense matrix.
- `gather(matrix, rows, item_ids)`: `matrix[row, item]` of each entry, differentiable.
- `multinomial_nll(logits, rows, item_ids, values)`: minus the multinomial
  log-likelihood of each user, (users,), differentiable in the logits.
- `fuses_adam(gradient, variable)`: whether `adam_update` can take the two.
- `adam_update(variable, momentum, velocity, gradient, step, learning_rate, beta_1,
  beta_2, epsilon)`: one step of Keras' Adam in one pass; `step` counts from 1.
- `kept_memory()`: a context in which freed memory is kept for the next step.
- `num_replicas()`: replicas whose gradients the optimiser will add up.
"""

from __future__ import annotations

from importlib import import_module

import keras

SUPPORTED = ("tensorflow", "jax", "torch")

if keras.backend.backend() not in SUPPORTED:
    raise ImportError(
        f"keras_multvae runs on the Keras backends {', '.join(SUPPORTED)}; the active "
        f"one is {keras.backend.backend()!r}. Set the environment variable "
        "KERAS_BACKEND before Keras is imported."
    )

_module = import_module(f"{__name__}.{keras.backend.backend()}_ops")
rows = _module.rows
bag_matmul = _module.bag_matmul
affine = _module.affine
to_dense = _module.to_dense
gather = _module.gather
multinomial_nll = _module.multinomial_nll
fuses_adam = _module.fuses_adam
adam_update = getattr(_module, "adam_update", None)
kept_memory = _module.kept_memory
num_replicas = _module.num_replicas
