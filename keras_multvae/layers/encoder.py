"""The inference model g_phi: clicks -> mean and log-variance of q(z | x)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from keras_multvae import backend, ragged
from keras_multvae.backend.wide import wide_dtype
from keras_multvae.layers.dense import (
    Dense,
    EmbeddingInitializer,
    bias_initializer,
    kernel_regularizer,
    seeds,
    tanh_stack,
)
from keras_multvae.layers.seeded import SeededLayer, Seeds
from keras_multvae.settings import (
    INTEGER,
    NON_NEGATIVE,
    POSITIVE_INT,
    SHARE,
    Optional,
    Sizes,
    checked,
)
from keras_multvae.typing import Batch, Json, Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_multvae")
class InteractionEncoder(SeededLayer):
    """Maps rows of clicks to `(mean, log_var)` of the user's latent Gaussian.

    The row is divided by its L2 norm, THEN dropped out (inverted dropout); tanh
    between layers, linear outputs. Sparse batches never become dense: dropout acts on
    the stored entries and the first layer is a sparse product. A user without clicks
    has a row of zeros, not NaN.

    Args:
        num_items: Int, items of the catalogue.
        latent_dim: Int K; the last layer has 2K units.
        hidden_dims: Ints, sizes of the hidden layers; `()` for a linear encoder.
        dropout: Float in [0, 1), share of clicks dropped in training.
        l2: Float >= 0, L2 regularisation of the kernels.
        seed: Int or None, for the initial weights and the dropout mask.
        embedding_dtype: None, or "bfloat16" for the first kernel, whose rows are summed
            in float32.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: Dense rows (users, num_items), or a ragged batch (see `UserBatches`).
        training: Bool, whether to drop clicks.
        kernel: Optional rows (rows, units) of the first layer's kernel, to which the
            item ids of the ragged batch then refer; the whole of it by default.

    Returns:
        Two tensors (users, latent_dim), float32 (float64 under that policy).

    Example:

    >>> import numpy as np
    >>> encoder = InteractionEncoder(num_items=5, latent_dim=2, hidden_dims=(3,))
    >>> mean, log_var = encoder(np.eye(4, 5, dtype="float32"))
    >>> tuple(mean.shape), tuple(log_var.shape)
    ((4, 2), (4, 2))

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.2
    """

    # Outputs of the last layer for each latent dimension.
    outputs = 2

    def __init__(
        self,
        num_items: int,
        latent_dim: int = 200,
        hidden_dims: Sequence[int] = (600,),
        dropout: float = 0.5,
        l2: float = 0.0,
        seed: int | None = None,
        embedding_dtype: str | None = None,
        **kwargs: object,
    ) -> None:
        # Values are normalised in float32 whatever the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.num_items = checked("num_items", num_items, POSITIVE_INT)
        self.latent_dim = checked("latent_dim", latent_dim, POSITIVE_INT)
        self.hidden_dims = checked("hidden_dims", hidden_dims, Sizes())
        self.dropout = checked("dropout", dropout, SHARE)
        self.l2 = checked("l2", l2, NON_NEGATIVE)
        self.seed = checked("seed", seed, Optional(INTEGER))
        self.embedding_dtype = embedding_dtype
        source = seeds(seed)
        self.seed_generator = Seeds(next(source))
        units = (*self.hidden_dims, self.outputs * self.latent_dim)
        self.kernel = self.add_weight(
            shape=(self.num_items, units[0]),
            initializer=EmbeddingInitializer(next(source)),
            dtype=embedding_dtype,
            regularizer=kernel_regularizer(l2),
            # Otherwise Keras would make a 16-bit copy of all rows where a model needs
            # some.
            autocast=False,
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=units[:1], initializer=bias_initializer(source), name="bias"
        )
        self.stack = self._make_stack(units, source)
        self.built = True

    def _make_stack(
        self, units: tuple[int, ...], source: Iterator[int | None]
    ) -> list[Dense]:
        """The layers after the first; `units` has the sizes of all layers."""
        return tanh_stack(units[0], units[1:], source, self.dtype_policy, self.l2)

    def call(
        self, inputs: Tensor, training: bool | None = None, kernel: Tensor = None
    ) -> Tensor:
        """See the class."""
        hidden = self._hidden(inputs, training, kernel)
        mean, log_var = ops.split(hidden, 2, axis=-1)
        return mean, log_var

    def _hidden(self, inputs: Tensor, training: bool | None, kernel: Tensor) -> Tensor:
        """The last layer's units, before any activation."""
        hidden = self._first(inputs, bool(training), kernel)
        if self.stack:  # otherwise the encoder is linear
            hidden = ops.tanh(hidden)
        for layer in self.stack:
            hidden = layer(hidden)
        return ops.cast(hidden, wide_dtype(self.compute_dtype))

    def _first(self, inputs: Tensor, drop: Tensor, kernel: Tensor = None) -> Tensor:
        """The first layer's units, before any activation.

        `drop` says whether to drop clicks: a bool, or a bool tensor.
        """
        if ragged.is_ragged(inputs):
            if kernel is None:
                inputs, kernel = self._embeddings(inputs)
            hidden = self._sparse(inputs, kernel, drop)
        else:
            hidden = self._dense(inputs, drop)
        return hidden + ops.cast(self.bias, self.compute_dtype)

    def _embeddings(self, inputs: Batch) -> tuple[Batch, Tensor]:
        """The batch with its ids as rows of a kernel, and that kernel."""
        if self.embedding_dtype is None:
            return inputs, self.kernel
        # Sums must be in float32: convert the rows of this batch, not the whole kernel.
        ids, places = backend.unique_ids(ops.convert_to_tensor(inputs["item_ids"]))
        rows = backend.embedding_lookup(self.kernel, ids, sparse=False)
        return {**inputs, "item_ids": places}, rows

    def _sparse(self, inputs: Batch, kernel: Tensor, drop: Tensor) -> Tensor:
        """The first layer's product for a ragged batch."""
        values = ops.cast(inputs["values"], wide_dtype(self.compute_dtype))
        norms = _safe_sqrt(ragged.segment_sum(inputs, ops.square(values)))
        values = self._drop(values / ops.take(norms, ragged.segment_ids(inputs)), drop)
        # In the kernel's own precision, as a sparse product is bound by memory: a
        # 16-bit copy of the whole kernel would cost more than it saves.
        kernel = ops.convert_to_tensor(kernel)
        product = ragged.matmul(inputs, ops.cast(values, kernel.dtype), kernel)
        return ops.cast(product, self.compute_dtype)

    def _dense(self, inputs: Tensor, drop: Tensor) -> Tensor:
        """The first layer's product for dense rows."""
        rows = ops.cast(inputs, wide_dtype(self.compute_dtype))
        norms = _safe_sqrt(ops.sum(ops.square(rows), axis=-1, keepdims=True))
        rows = self._drop(rows / norms, drop)
        return ops.matmul(
            ops.cast(rows, self.compute_dtype),
            ops.cast(self.kernel, self.compute_dtype),
        )

    def _drop(self, values: Tensor, drop: Tensor) -> Tensor:
        """Drops values if `drop` is true, a bool or a bool tensor."""
        if drop is False or not self.dropout:
            return values
        kept = backend.dropout(values, self.dropout, self.seed_generator)
        return kept if drop is True else ops.where(drop, kept, values)

    def compute_output_shape(
        self, input_shape: Shape | dict[str, Shape]
    ) -> tuple[Shape, Shape]:
        """Two shapes (users, latent_dim)."""
        shape = _users(input_shape), self.latent_dim
        return shape, shape

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        config = super().get_config()
        config.pop("autocast", None)
        return {
            **config,
            "num_items": self.num_items,
            "latent_dim": self.latent_dim,
            "hidden_dims": list(self.hidden_dims),
            "dropout": self.dropout,
            "l2": self.l2,
            "seed": self.seed,
            "embedding_dtype": self.embedding_dtype,
        }


@keras.saving.register_keras_serializable(package="keras_multvae")
class PointEncoder(InteractionEncoder):
    """Mult-DAE's encoder: `InteractionEncoder` with a point in place of a Gaussian.

    Tanh follows the latent vector, as it follows every layer of Mult-DAE but the last.

    Returns:
        One tensor (users, latent_dim), float32 (float64 under that policy).

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.2.3
    """

    outputs = 1

    def call(
        self, inputs: Tensor, training: bool | None = None, kernel: Tensor = None
    ) -> Tensor:
        """See the class."""
        return ops.tanh(self._hidden(inputs, training, kernel))

    def compute_output_shape(self, input_shape: Shape | dict[str, Shape]) -> Any:
        """(users, latent_dim)."""
        return _users(input_shape), self.latent_dim


def _users(input_shape: Shape | dict[str, Shape]) -> int | None:
    """The number of users of a batch, dense or ragged."""
    shape = (
        input_shape["entries_per_user"]
        if isinstance(input_shape, dict)
        else input_shape
    )
    return shape[0]


def _safe_sqrt(squares: Tensor) -> Tensor:
    """The square root, or 1 where it is 0, so that empty rows stay zeros."""
    return ops.sqrt(ops.where(squares > 0, squares, ops.ones_like(squares)))
