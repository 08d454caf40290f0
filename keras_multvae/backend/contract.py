"""What a backend offers beyond keras.ops, as protocols.

`keras_multvae.backend` has these functions for the backend that Keras runs on. The
package `reference` implements them in keras.ops; a new backend starts from a copy of
it, and `tests/test_backend_reference.py` compares every backend with it.

Arguments that many functions share:

- `item_ids` and `values` (entries,): a ragged batch, see docs/architecture.md. Ids are
  int32.
- `segment_ids` (entries,): the index of each entry's user, ascending, int32 or int64.
- `seeds`: a `layers.seeded.Seeds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import numpy as np

from keras_multvae.typing import Seeds, Tensor, Variable

Structure = TypeVar("Structure")
# Smaller probabilities and sums of exp may have lost digits to underflow in float32.
MIN_EXACT = 1e-30


class Operations(Protocol):
    """The module `ops.py` of a backend."""

    # The largest array whose memory the next one of its size gets, in bytes: malloc
    # returns larger ones to the system, and new memory must be cleared first.
    REUSED_BYTES: int
    # Whether a result in 16 bits has 16 bits, as XLA's do not until they are returned.
    ROUNDS_EACH_RESULT: bool

    def segment_ids(self, entries_per_user: Tensor, item_ids: Tensor) -> Tensor:
        """The user index of each entry, from the entries of each user."""

    def sparse_dense_matmul(
        self,
        entries_per_user: Tensor,
        segment_ids: Tensor,
        item_ids: Tensor,
        values: Tensor,
        kernel: Tensor,
    ) -> Tensor:
        """The sparse (users, items) matrix times a dense kernel (items, units).

        Differentiable with respect to the kernel.
        """

    def affine(self, inputs: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        """`inputs @ kernel + bias`, differentiable."""

    def to_dense(
        self,
        segment_ids: Tensor,
        item_ids: Tensor,
        values: Tensor,
        shape: tuple[Tensor, int],
    ) -> Tensor:
        """A dense matrix of this shape; entries of the same place are added up."""

    def add_item_weights(
        self,
        logits: Tensor,
        segment_ids: Tensor,
        item_ids: Tensor,
        values: Tensor,
        lengths: Tensor,
        columns: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """Adds clicks times a sparse (items, items) matrix to logits (users, items).

        The matrix is given row by row: its `columns` and `weights`, `lengths` (items,)
        of them in each row.
        """

    def segment_sum(self, values: Tensor, segment_ids: Tensor, users: Tensor) -> Tensor:
        """The sum of each user's values: (entries,) -> (users,)."""

    def normal(self, shape: Sequence[int], seeds: Seeds) -> Tensor:
        """Float32 numbers drawn from N(0, 1)."""

    def dropout(self, values: Tensor, rate: float, seeds: Seeds) -> Tensor:
        """Sets a share `rate` of values to 0, and divides the others by 1 - rate."""

    def gather_nd(
        self, matrix: Tensor, segment_ids: Tensor, item_ids: Tensor
    ) -> Tensor:
        """`matrix[user, item]` of each entry, differentiable."""

    def multinomial_nll(
        self, logits: Tensor, segment_ids: Tensor, item_ids: Tensor, values: Tensor
    ) -> Tensor:
        """Minus the multinomial log-likelihood of each user: (users,).

        Differentiable with respect to the logits (users, items).
        """

    def log_sum_exp(self, logits: Tensor) -> Tensor:
        """Log of the sum of exp(logits) of each user: (users, items) -> (users,).

        It is float32 for 16-bit logits, and computed in float32.
        """

    def top_k(self, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Values and indices of the k largest scores of each row, two (users, k).

        The largest comes first; of equal ones, the one of the lower index. -0 equals 0.
        """

    def fuses_adam(self, gradient: Tensor, variable: Variable) -> bool:
        """Whether `adam_update` takes this gradient and this variable."""

    def adam_update(
        self,
        variable: Variable,
        momentum: Variable,
        velocity: Variable,
        gradient: Tensor,
        step: Tensor,
        learning_rate: Tensor,
        beta_1: float,
        beta_2: float,
        epsilon: float,
    ) -> None:
        """One step of Keras' Adam in a single pass; `step` counts from 1."""

    def without_gradients(
        self, condition: Tensor, variables: Sequence[Variable]
    ) -> AbstractContextManager[None]:
        """A context for a forward pass; a backend may skip gradients in it.

        It may do so for `variables`, if the bool tensor `condition` is true.
        """

    def run_if(self, condition: Tensor, function: Callable[[], object]) -> None:
        """Calls a function that changes variables, if a bool tensor is true.

        JAX has no such function, as its steps change nothing in place.
        """

    def assign_if(
        self,
        condition: Tensor,
        variables: Sequence[Variable],
        values: Callable[[], Sequence[Tensor]],
    ) -> None:
        """Assigns `values()` to variables if a bool tensor is true.

        If it is false, the values are not computed.
        """

    def retain_freed_memory(self) -> AbstractContextManager[None]:
        """A context in which freed memory is retained for the next step."""

    def without_autotuning(self) -> AbstractContextManager[None]:
        """A context for Keras' loop over `UserBatches`, which no tuner then delays."""

    def on_host(self) -> AbstractContextManager[None]:
        """A context for tensors that the host reads at every step, such as seeds.

        Reading them from a GPU would wait until it has finished all earlier work.
        """

    def has_accelerator(self) -> bool:
        """Whether models compute on something other than the host's CPU."""

    def upload(self, batch: Structure) -> Structure:
        """Moves NumPy arrays to the device, in the thread that prefetches batches.

        It returns them as they are if the backend already does so during a step.
        """

    def num_replicas(self) -> int:
        """The number of replicas whose gradients the optimiser adds up."""

    def compile_inference(
        self,
        function: Callable[[Tensor], tuple[Tensor, ...]],
        variables: Sequence[Variable],
    ) -> Callable[[Tensor], tuple[np.ndarray, ...]]:
        """A function without gradients, compiled if the backend compiles.

        It takes and returns NumPy arrays. `variables` are those that `function` reads;
        their values are read at each call.
        """


class EmbeddingOperations(Protocol):
    """The module `embeddings.py` of a backend: item embeddings used by row.

    An embedding matrix is a variable (items, units), float32 or bfloat16.
    """

    # Whether XLA can compile a step that uses these functions.
    COMPILES: bool

    def unique_ids(self, item_ids: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct ids, and the place of each entry's id among them.

        JAX needs static shapes, so there ids past the end of every matrix may follow.
        """

    def embedding_lookup(
        self, embeddings: Variable, ids: Tensor, sparse: bool
    ) -> Tensor:
        """The rows of distinct `ids`, in float32.

        With `sparse`, the optimiser gets the gradients of these rows alone.
        """

    def entry_products(
        self,
        hidden: Tensor,
        embeddings: Tensor,
        entries_per_user: Tensor,
        segment_ids: Tensor,
        item_ids: Tensor,
    ) -> Tensor:
        """The inner product of each entry's user and item: (entries,).

        Differentiable with respect to `hidden` (users, units) and `embeddings`.
        """

    def sparse_gradient(self, gradient: Tensor) -> tuple[Tensor, Tensor] | None:
        """Ids and gradients of rows, or None for an ordinary gradient."""

    def sparse_adam_update(
        self,
        variable: Variable,
        momentum: Variable,
        velocity: Variable,
        ids: Tensor,
        gradient: Tensor,
        step: Tensor,
        seed: Tensor,
        learning_rate: Tensor,
        beta_1: float,
        beta_2: float,
        epsilon: float,
    ) -> None:
        """One step of Adam for the rows `ids` alone.

        It is computed in float32; bfloat16 results are rounded by `round_at_random`,
        with an integer seed that differs from step to step and matrix to matrix.
        """

    def round_at_random(self, values: Tensor, seed: Tensor) -> Tensor:
        """Rounds float32 (rows, units) to bfloat16, up or down, preserving the mean.

        Rounding to nearest would discard every change of less than half a unit in the
        last place, such as that of a velocity in each step.
        """


class Processes(Protocol):
    """The processes of a distributed training; one process where there is none."""

    def to_host(self, variable: Variable) -> np.ndarray:
        """The value of a variable, wherever its shards are.

        All processes of a distributed training must call it at the same time.
        """

    def is_main_process(self) -> bool:
        """Whether this is the process that writes files."""

    def broadcast(self, value: bool) -> bool:
        """The main process' value, on all processes."""


class Training:
    """A base class of models: what `fit` needs of the backend.

    On JAX it takes gradients of rows of embeddings, and keeps the weights of a step
    that fails; on PyTorch with a GPU it records steps. On TensorFlow it is empty.
    """

    # Whether training takes gradients of some rows of the embeddings.
    sparse_gradients: bool
    # Whether every training step runs the same operations.
    steps_alike: bool
