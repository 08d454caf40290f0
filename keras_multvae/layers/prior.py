"""Priors of z: how far a user's q(z | x) is from them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Prior(keras.layers.Layer):
    """Base of priors p(z): gives KL(q(z | x) || p(z)) of each user.

    A subclass makes its weights when it is made.

    Call arguments:
        inputs: A triple `(mean, log_var, z)` of float tensors (users, latent_dim): the
            Gaussian q, and a draw from it (its mean in inference), for priors whose KL
            has no closed form and is estimated by `log q(z | x) - log p(z)`.

    Returns:
        The KL of each user, (users,).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = True

    def call(self, inputs: tuple[Any, Any, Any]) -> Any:
        """See the class."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(users,)."""
        return input_shape[0][:-1]


@keras.saving.register_keras_serializable(package="keras_multvae")
class StandardNormal(Prior):
    """N(0, I): `KL = 1/2 sum_k (exp(lv_k) + mu_k^2 - 1 - lv_k)`, lv the log-variance.

    Example:

    >>> import numpy as np
    >>> mean, log_var = np.ones((1, 2), "float32"), np.zeros((1, 2), "float32")
    >>> float(StandardNormal()((mean, log_var, mean))[0])
    1.0

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), section 2.2
    """

    def call(self, inputs: tuple[Any, Any, Any]) -> Any:
        """See `Prior`."""
        mean, log_var, _ = inputs
        terms = ops.exp(log_var) + ops.square(mean) - 1.0 - log_var
        return 0.5 * ops.sum(terms, axis=-1)
