"""The reparametrisation trick."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from keras_multvae import backend
from keras_multvae.layers.seeded import SeededLayer, Seeds
from keras_multvae.settings import INTEGER, Optional, checked
from keras_multvae.typing import Json, Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_multvae")
class Sampling(SeededLayer):
    """Draws z from q(z | x) in training, and returns its mean otherwise.

    `z = mean + eps * exp(log_var / 2)`, eps ~ N(0, I), in training; `z = mean` in
    inference, so that predictions do not vary from call to call.

    Args:
        seed: Int or None, the seed of the layer's own `keras.random.SeedGenerator`.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: A pair `(mean, log_var)` of float tensors (..., latent_dim).
        training: Bool, whether to draw.

    Returns:
        A tensor of the shape and dtype of `mean`.

    Example:

    >>> import numpy as np
    >>> mean, log_var = np.ones((1, 2), "float32"), np.zeros((1, 2), "float32")
    >>> layer = Sampling(seed=1)
    >>> keras.ops.convert_to_numpy(layer((mean, log_var))).tolist()
    [[1.0, 1.0]]

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.2.1
    """

    def __init__(self, seed: int | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.seed = checked("seed", seed, Optional(INTEGER))
        self.seed_generator = Seeds(self.seed)
        self.built = True

    def call(
        self, inputs: tuple[Tensor, Tensor], training: bool | None = None
    ) -> Tensor:
        """See the class."""
        mean, log_var = inputs
        if not training:
            return mean
        eps = backend.normal(ops.shape(mean), self.seed_generator)
        eps = ops.cast(eps, mean.dtype)
        return mean + eps * ops.exp(log_var / 2)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        """The shape of the mean."""
        return input_shape[0]

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        return {**super().get_config(), "seed": self.seed}
