"""The sparse products that keras.ops lacks: one module a backend, one interface.

Each module offers, for a bag batch (see docs/architecture.md) with `rows`, the user
index of every entry (int32, ascending):

- `bag_matmul(bag_sizes, rows, item_ids, values, kernel, xla)`: the product of the
  sparse (users, items) matrix with the dense kernel (items, units), differentiable in
  the kernel; with `xla`, by operations that TensorFlow can compile with XLA.
- `to_dense(rows, item_ids, values, shape)`: the entries added up in a dense matrix.
- `gather(matrix, rows, item_ids)`: `matrix[row, item]` of each entry, differentiable.
- `num_replicas()`: replicas whose gradients the optimiser will add up.
- `inference(function, variables)`: a function of a batch, which returns a tuple of
  tensors, without gradients and compiled where the backend compiles; NumPy arrays in
  and out. `variables` are those that it reads, at each call anew.
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
bag_matmul = _module.bag_matmul
to_dense = _module.to_dense
gather = _module.gather
num_replicas = _module.num_replicas
inference = _module.inference
