"""What keras.ops lacks or computes in too many passes, for the active Keras backend.

The functions are described by the protocols of `keras_multvae.backend.contract`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

import keras

from keras_multvae.backend.contract import EmbeddingOperations, Operations, Processes

# The axis of a device mesh along which item embeddings are sharded.
ITEMS = "items"
SUPPORTED = ("tensorflow", "jax", "torch")
_name = keras.backend.backend()

if _name not in SUPPORTED:
    raise ImportError(
        f"keras_multvae runs on the Keras backends {', '.join(SUPPORTED)}; the active "
        f"one is {_name!r}. Set the environment variable KERAS_BACKEND before Keras is "
        "imported."
    )

_operations = cast(Operations, import_module(f"{__name__}.{_name}.ops"))
REUSED_BYTES = _operations.REUSED_BYTES
ROUNDS_EACH_RESULT = _operations.ROUNDS_EACH_RESULT
segment_ids = _operations.segment_ids
sparse_dense_matmul = _operations.sparse_dense_matmul
affine = _operations.affine
to_dense = _operations.to_dense
add_item_weights = _operations.add_item_weights
segment_sum = _operations.segment_sum
normal = _operations.normal
dropout = _operations.dropout
gather_nd = _operations.gather_nd
multinomial_nll = _operations.multinomial_nll
log_sum_exp = _operations.log_sum_exp
top_k = _operations.top_k
fuses_adam = _operations.fuses_adam
without_gradients = _operations.without_gradients
assign_if = _operations.assign_if
retain_freed_memory = _operations.retain_freed_memory
without_autotuning = _operations.without_autotuning
on_host = _operations.on_host
has_accelerator = _operations.has_accelerator
upload = _operations.upload
num_replicas = _operations.num_replicas
compile_inference = _operations.compile_inference
if _name != "jax":  # JAX fuses Keras' own Adam, and changes nothing in place.
    adam_update = _operations.adam_update
    run_if = _operations.run_if

_embeddings = cast(EmbeddingOperations, import_module(f"{__name__}.{_name}.embeddings"))
unique_ids = _embeddings.unique_ids
embedding_lookup = _embeddings.embedding_lookup
entry_products = _embeddings.entry_products
sparse_gradient = _embeddings.sparse_gradient
sparse_adam_update = _embeddings.sparse_adam_update
round_at_random = _embeddings.round_at_random
sparse_gradients_compile = _embeddings.COMPILES

_process = "jax.process" if _name == "jax" else "one_process"
_processes = cast(Processes, import_module(f"{__name__}.{_process}"))
to_host = _processes.to_host
is_main_process = _processes.is_main_process
broadcast = _processes.broadcast

if TYPE_CHECKING:
    from keras_multvae.backend.contract import Training as Training
else:
    _training = "graphs" if _name == "torch" else "embeddings"
    Training = import_module(f"{__name__}.{_name}.{_training}").Training
