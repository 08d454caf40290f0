"""RecVAE's inference model: every layer reads the outputs of all earlier ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_multvae.backend.wide import wide_dtype
from keras_multvae.layers.dense import Dense, tanh_stack
from keras_multvae.layers.encoder import InteractionEncoder
from keras_multvae.typing import Json, Tensor

DEPTH, EPSILON = 5, 0.1


@keras.saving.register_keras_serializable(package="keras_multvae")
class DenselyConnectedEncoder(InteractionEncoder):
    """Maps rows of clicks to `(mean, log_var)`, by five densely connected layers.

    `h_1 = LN(swish(W_1 x))`, `h_k = LN(swish(W_k h_(k-1) + h_1 + ... + h_(k-1)))`, with
    LayerNorm's epsilon 0.1; mean and log-variance are linear in h_5. As in
    `InteractionEncoder`, rows are divided by their L2 norm and then dropped out, and
    sparse batches never become dense.

    Args:
        num_items: Int, items of the catalogue.
        latent_dim: Int K; the last layer has 2K units.
        width: Int, units of each of the five layers.
        dropout: Float in [0, 1), share of clicks dropped in training.
        seed: Int or None, for the initial weights and the dropout mask.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: Dense rows (users, num_items), or a ragged batch (see `UserBatches`).
        training: Bool, whether to drop clicks.
        drop: Optional bool tensor in place of `training`, if only the step knows it.

    Returns:
        Two tensors (users, latent_dim), float32 (float64 under that policy).

    Example:

    >>> import numpy as np
    >>> encoder = DenselyConnectedEncoder(num_items=5, latent_dim=2, width=3)
    >>> mean, log_var = encoder(np.eye(4, 5, dtype="float32"))
    >>> tuple(mean.shape), tuple(log_var.shape)
    ((4, 2), (4, 2))

    References:
        - [Shenbin et al., 2020](https://arxiv.org/abs/1912.11160)
    """

    def __init__(
        self,
        num_items: int,
        latent_dim: int = 200,
        width: int = 600,
        dropout: float = 0.5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_items, latent_dim, (width,) * DEPTH, dropout, seed=seed, **kwargs
        )
        self.width = width
        self.norms = [
            keras.layers.LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy)
            for _ in range(DEPTH)
        ]
        for norm in self.norms:
            norm.build((None, width))

    def _make_stack(
        self, units: tuple[int, ...], source: Iterator[int | None]
    ) -> list[Dense]:
        return tanh_stack(units[0], units[1:], source, self.dtype_policy, between=None)

    def call(
        self,
        inputs: Tensor,
        training: bool | None = None,
        kernel: Tensor = None,
        drop: Tensor = None,
    ) -> Tensor:
        """See the class."""
        *between, last = self.stack
        first, *norms = self.norms
        drop = bool(training) if drop is None else drop
        hidden = first(ops.silu(self._first(inputs, drop, kernel)))
        before = hidden
        for layer, norm in zip(between, norms, strict=True):
            hidden = norm(ops.silu(layer(hidden) + before))
            before = before + hidden
        outputs = ops.cast(last(hidden), wide_dtype(self.compute_dtype))
        mean, log_var = ops.split(outputs, 2, axis=-1)
        return mean, log_var

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        config = super().get_config()
        for name in ("hidden_dims", "l2", "embedding_dtype"):
            del config[name]
        return {**config, "width": self.width}


@keras.saving.register_keras_serializable(package="keras_multvae")
class FrozenEncoder(DenselyConnectedEncoder):
    """A `DenselyConnectedEncoder` that is never trained and drops no clicks.

    Setting `trainable` has no effect, so a model may set it for all its layers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "dropout": 0.0})
        for variable in self.variables:
            variable.trainable = False

    @property
    def trainable(self) -> bool:
        """False."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        pass
