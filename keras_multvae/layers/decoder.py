"""The generative model f_theta: z -> a logit for every item."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_multvae.backend.wide import wide_dtype
from keras_multvae.layers.dense import Dense, seeds, tanh_stack
from keras_multvae.settings import INTEGER, POSITIVE_INT, Optional, Sizes, checked
from keras_multvae.typing import Json, Shape, Tensor, Variable


class Decoder(keras.layers.Layer):
    """Base class of decoders.

    Args:
        num_items: Int, items of the catalogue.
        latent_dim: Int, size of the latent vector.
        hidden_dims: Ints, sizes of the hidden layers from the latent vector outwards.
        seed: Int or None, for the initial weights.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(
        self,
        num_items: int,
        latent_dim: int,
        hidden_dims: Sequence[int],
        seed: int | None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.num_items = checked("num_items", num_items, POSITIVE_INT)
        self.latent_dim = checked("latent_dim", latent_dim, POSITIVE_INT)
        self.hidden_dims = checked("hidden_dims", hidden_dims, Sizes())
        self.seed = checked("seed", seed, Optional(INTEGER))

    @property
    def inner(self) -> list[Dense]:
        """The layers before the last."""
        raise NotImplementedError

    @property
    def output_embeddings(self) -> tuple[Variable, int]:
        """The variable of the item vectors, and which of its axes is the items'."""
        raise NotImplementedError

    def hidden(self, inputs: Tensor) -> Tensor:
        """Latent vectors -> the input of the last layer, (users, units)."""
        for layer in self.inner:
            inputs = layer(inputs)
        return inputs

    def logits(self, inputs: Tensor) -> Tensor:
        """Latent vectors -> logits in the compute dtype, (users, num_items)."""
        raise NotImplementedError

    def call(self, inputs: Tensor) -> Tensor:
        """Latent vectors -> logits, float32 or wider, (users, num_items)."""
        return ops.cast(self.logits(inputs), wide_dtype(self.compute_dtype))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """(users, num_items)."""
        return (*input_shape[:-1], self.num_items)

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        return {
            **super().get_config(),
            "num_items": self.num_items,
            "latent_dim": self.latent_dim,
            "hidden_dims": list(self.hidden_dims),
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="keras_multvae")
class ItemDecoder(Decoder):
    """Maps latent vectors to unnormalised log-probabilities over the items.

    Tanh between layers, none on the latent vector or on the logits.

    Args:
        num_items: Int, items of the catalogue.
        latent_dim: Int, size of the latent vector.
        hidden_dims: Ints, sizes of the hidden layers from the latent vector outwards;
            `()` for a linear decoder.
        l2: Float >= 0, L2 regularisation of the kernels.
        seed: Int or None, for the initial weights.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: Latent vectors (users, latent_dim).

    Returns:
        Logits (users, num_items), float32 (float64 under that policy).

    Example:

    >>> import numpy as np
    >>> decoder = ItemDecoder(num_items=5, latent_dim=2, hidden_dims=(3,))
    >>> tuple(decoder(np.zeros((4, 2), "float32")).shape)
    (4, 5)

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.1
    """

    def __init__(
        self,
        num_items: int,
        latent_dim: int = 200,
        hidden_dims: Sequence[int] = (600,),
        l2: float = 0.0,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(num_items, latent_dim, hidden_dims, seed, **kwargs)
        self.l2 = l2
        units = (*self.hidden_dims, self.num_items)
        # `distribution.item_layout_map` finds the item embeddings by this name.
        self.stack = tanh_stack(
            self.latent_dim,
            units,
            seeds(seed),
            self.dtype_policy,
            l2,
            last_name="item_logits",
        )
        self.built = True

    def logits(self, inputs: Tensor) -> Tensor:
        """See `Decoder`."""
        return self.stack[-1](self.hidden(inputs))

    @property
    def inner(self) -> list[Dense]:
        """The layers before the last."""
        return self.stack[:-1]

    @property
    def output_embeddings(self) -> tuple[Variable, int]:
        """The last kernel, (units, num_items), and 1."""
        return self.stack[-1].kernel, 1

    @property
    def bias(self) -> Variable:
        """The last bias, (num_items,)."""
        return self.stack[-1].bias

    def item_vectors(self) -> np.ndarray:
        """The last kernel, float32 (num_items, units), one row an item."""
        return ops.convert_to_numpy(self.stack[-1].kernel).astype("float32").T

    def item_biases(self) -> np.ndarray:
        """The last bias, float32 (num_items,)."""
        return ops.convert_to_numpy(self.bias).astype("float32")

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        return {**super().get_config(), "l2": self.l2}
