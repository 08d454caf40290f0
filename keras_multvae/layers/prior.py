"""Priors of z, and the KL of q(z | x) to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_multvae.typing import Json, Shape, Tensor


class Prior(keras.layers.Layer):
    """Base class of priors p(z): computes KL(q(z | x) || p(z)) of each user.

    A subclass makes its weights in its constructor.

    Call arguments:
        inputs: A triple `(mean, log_var, z)` of float tensors (users, latent_dim): the
            Gaussian q, and a draw from it (its mean in inference), for priors whose KL
            has no closed form and is estimated by `log q(z | x) - log p(z)`.

    Returns:
        The KL of each user, (users,).
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.built = True

    def call(self, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """See the class."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
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

    def call(self, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """See `Prior`."""
        mean, log_var, _ = inputs
        terms = ops.exp(log_var) + ops.square(mean) - 1.0 - log_var
        return 0.5 * ops.sum(terms, axis=-1)


@keras.saving.register_keras_serializable(package="keras_multvae")
class CompositePrior(Prior):
    """RecVAE's prior: an earlier posterior mixed with two normals centred at 0.

    In each dimension `p(z) = w_1 N(0, 1) + w_2 N(mu_old, sigma_old^2) + w_3 N(0, v)`,
    where N(mu_old, sigma_old^2) is the posterior of the same user by an earlier
    encoder. The KL has no closed form: it is estimated by `log q(z | x) - log p(z | x)`
    at the drawn z.

    Args:
        weights: Three floats > 0, w, of sum 1.
        log_variance: Float, log v.
        **kwargs: Passed to `keras.layers.Layer` (`name`, `dtype`).

    Call arguments:
        inputs: `(mean, log_var, z, old_mean, old_log_var)`, float tensors (users,
            latent_dim): those of `Prior`, and the earlier encoder's Gaussian.

    Raises:
        ValueError: The weights are not three positive numbers of sum 1.

    Example:

    >>> import numpy as np
    >>> mean, log_var = np.zeros((1, 2), "float32"), np.zeros((1, 2), "float32")
    >>> kl = CompositePrior()((mean, log_var, mean, mean, log_var))
    >>> round(float(kl[0]), 3)  # not 0: a tenth of the prior is wide
    0.209

    References:
        - [Shenbin et al., 2020](https://arxiv.org/abs/1912.11160)
    """

    def __init__(
        self,
        weights: Sequence[float] = (0.15, 0.75, 0.1),
        log_variance: float = 10.0,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.mixture = tuple(map(float, weights))
        self.log_variance = float(log_variance)
        if len(self.mixture) != 3 or not (
            min(self.mixture) > 0 and math.isclose(sum(self.mixture), 1)
        ):
            raise ValueError(
                "`weights` must be three positive numbers of sum 1: of N(0, 1), of the "
                f"earlier encoder and of the wide normal. Received: weights={weights}."
            )

    def log_density(self, z: Tensor, old_mean: Tensor, old_log_var: Tensor) -> Tensor:
        """Log p(z | x) of each user, (users,)."""
        zeros = ops.zeros_like(z)
        parts = [
            (zeros, zeros),
            (old_mean, old_log_var),
            (zeros, zeros + self.log_variance),
        ]
        terms = [
            math.log(weight) + _log_normal(z, *part)
            for weight, part in zip(self.mixture, parts, strict=True)
        ]
        return ops.sum(ops.logsumexp(ops.stack(terms), axis=0), axis=-1)

    def call(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """See the class."""
        mean, log_var, z, *old = inputs
        log_q = ops.sum(_log_normal(z, mean, log_var), axis=-1)
        return log_q - self.log_density(z, *old)

    def get_config(self) -> Json:
        """See `keras.layers.Layer.get_config`."""
        own = {"weights": list(self.mixture), "log_variance": self.log_variance}
        return {**super().get_config(), **own}


def _log_normal(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The log-density of N(mean, exp(log_var)) at z, elementwise."""
    square = ops.square(z - mean) * ops.exp(-log_var)
    return -0.5 * (math.log(2 * math.pi) + log_var + square)
