"""Negative log-likelihoods of a user's clicks: docs/method.md, Mult-VAE."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
from keras import ops

from keras_multvae import backend, checks, ragged
from keras_multvae.backend.wide import widen
from keras_multvae.typing import Batch, Json, Tensor


class SampledLogits(NamedTuple):
    """The logits of a step that computes some of them.

    Args:
        clicked: (entries,), the logit of each entry of the ragged batch.
        sampled: (users, num_sampled), the logits of sampled items, each minus the log
            of the probability that the item is sampled.
        hits: (users, num_sampled) bool, which of these to ignore.
    """

    clicked: Tensor
    sampled: Tensor
    hits: Tensor


class Likelihood(keras.losses.Loss):
    """Base class of likelihoods; `call` returns each user's negative log-likelihood.

    Targets are dense rows (users, items) or a ragged batch, which never becomes dense:
    each likelihood is a sum over stored entries plus a sum over logits alone, up to a
    constant. A subclass is registered with Keras, so that models with it can be stored,
    and implements `call` and `unnormalized_scores`.
    """

    def __init__(self, name: str, **kwargs: object) -> None:
        super().__init__(name=name, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

    # Whether targets may be any numbers >= 0, rather than 0 and 1.
    takes_counts = True
    # Whether scores are log-probabilities of items, so that exp(a - b) is how many
    # times likelier one is than another.
    scores_log_probabilities = False
    # Whether the values of `unnormalized_scores` are the logits. Then these may be
    # bfloat16, and constants must be computed in float32.
    ranks_logits = False
    # The logit of padding items: it changes neither the likelihood nor its gradient.
    padding_logit = -1e4

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Targets and logits (users, items) -> negative log-likelihoods (users,)."""
        raise NotImplementedError

    def unnormalized_scores(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Returns `(scores + c, c)`, of shapes (users, items) and (users,).

        c is a constant of each user, so the first array alone ranks a user's items.
        """
        raise NotImplementedError

    def scores(self, logits: Tensor) -> Tensor:
        """Logits (users, items) -> the scores of a `Recommender`, in the same order."""
        values, constants = self.unnormalized_scores(widen(logits))
        return values - constants[:, None]


@keras.saving.register_keras_serializable(package="keras_multvae")
class MultinomialNLL(Likelihood):
    """Minus `sum_i x_ui log pi_i(z_u)`, pi the softmax over all items.

    Example:

    >>> import numpy as np
    >>> clicks = np.array([[1.0, 1.0, 0.0, 0.0]], "float32")
    >>> nll = MultinomialNLL()(clicks, np.zeros((1, 4), "float32"))
    >>> bool(np.isclose(float(nll), 2 * np.log(4)))
    True

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), equation 2
    """

    scores_log_probabilities = True
    ranks_logits = True

    def __init__(self, name: str = "multinomial_nll", **kwargs: object) -> None:
        super().__init__(name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """See the class; `y_pred` may be `SampledLogits`."""
        if isinstance(y_pred, SampledLogits):
            return self.sampled(y_true, y_pred)
        if ragged.is_ragged(y_true):
            return ragged.multinomial_nll(y_true, y_pred)
        total = _sum_over_clicks(y_true, y_pred, lambda x, f: x)
        product = _sum_over_clicks(y_true, y_pred, lambda x, f: x * f)
        return total * ops.logsumexp(y_pred, axis=-1) - product

    def sampled(self, y_true: Batch, logits: SampledLogits) -> Tensor:
        """Estimates `call` from some of the logits: (users,).

        The sum of exp(f_i) is exact over the clicked items. Over the others it is
        Horvitz and Thompson's unbiased estimate: each sampled item is weighted by 1 /
        P(it is sampled), the log Q correction of a sampled softmax.

        References:
            - [Jean et al., 2015](https://arxiv.org/abs/1412.2007), section 3.1
        """
        x = ops.cast(y_true["values"], logits.clicked.dtype)
        segment_ids, users = ragged.segment_ids(y_true), ragged.num_users(y_true)
        lowest = ops.full_like(logits.clicked, -1e30)
        clicked = ops.where(x > 0, logits.clicked, lowest)
        sampled = ops.where(logits.hits, -1e30, logits.sampled)
        # Subtracted before exp and added after log, so it needs no gradient.
        of_clicks = ops.segment_max(
            ops.stop_gradient(clicked), segment_ids, num_segments=users
        )
        of_sampled = ops.max(ops.stop_gradient(sampled), axis=1)
        largest = ops.maximum(of_clicks, of_sampled)
        shifted = ops.where(
            x > 0, ops.exp(clicked - ops.take(largest, segment_ids)), 0.0
        )
        total = ragged.segment_sum(y_true, shifted)
        total = total + ops.sum(ops.exp(sampled - largest[:, None]), axis=1)
        log_norm = ops.log(total) + largest
        return ragged.segment_sum(y_true, x) * log_norm - ragged.segment_sum(
            y_true, x * logits.clicked
        )

    def unnormalized_scores(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Log pi_i(z) = f_i - logsumexp(f)."""
        return logits, backend.log_sum_exp(ops.convert_to_tensor(logits))


@keras.saving.register_keras_serializable(package="keras_multvae")
class GaussianNLL(Likelihood):
    """`sum_i (c_ui / 2) (x_ui - f_ui)^2`: a squared error weighted by confidence.

    Args:
        clicked_confidence: Float > 0, c1, the confidence in a click.
        unclicked_confidence: Float > 0, c0, the confidence in a missing click.

    Example:

    >>> import numpy as np
    >>> clicks = np.array([[1.0, 0.0]], "float32")
    >>> float(GaussianNLL(4.0, 1.0)(clicks, np.array([[0.5, 2.0]], "float32")))
    2.5

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), equation 3
    """

    padding_logit = 0.0
    ranks_logits = True

    def __init__(
        self,
        clicked_confidence: float = 10.0,
        unclicked_confidence: float = 1.0,
        name: str = "gaussian_nll",
        **kwargs: object,
    ) -> None:
        super().__init__(name, **kwargs)
        self.clicked_confidence = checks.number(
            "clicked_confidence", clicked_confidence, above=0
        )
        self.unclicked_confidence = checks.number(
            "unclicked_confidence", unclicked_confidence, above=0
        )

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """See the class."""
        c1, c0 = self.clicked_confidence, self.unclicked_confidence
        everywhere = c0 / 2 * ops.sum(ops.square(y_pred), axis=-1)
        return everywhere + _sum_over_clicks(
            y_true, y_pred, lambda x, f: (c1 * ops.square(x - f) - c0 * f * f) / 2
        )

    def unnormalized_scores(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """f_i(z), the predicted click."""
        return logits, ops.zeros_like(logits[:, 0])

    def get_config(self) -> Json:
        """See `keras.losses.Loss.get_config`."""
        return {
            **super().get_config(),
            "clicked_confidence": self.clicked_confidence,
            "unclicked_confidence": self.unclicked_confidence,
        }


@keras.saving.register_keras_serializable(package="keras_multvae")
class LogisticNLL(Likelihood):
    """Minus `sum_i x_ui log s(f_ui) + (1 - x_ui) log(1 - s(f_ui))`, s the sigmoid.

    Targets are 0 or 1. For other numbers it has no lower bound, so training refuses
    them.

    Example:

    >>> import numpy as np
    >>> clicks = np.array([[1.0, 0.0]], "float32")
    >>> nll = LogisticNLL()(clicks, np.zeros((1, 2), "float32"))
    >>> bool(np.isclose(float(nll), 2 * np.log(2)))
    True

    References:
        - [Liang et al., 2018](https://arxiv.org/abs/1802.05814), equation 4
    """

    takes_counts = False
    scores_log_probabilities = True

    def __init__(self, name: str = "logistic_nll", **kwargs: object) -> None:
        super().__init__(name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """See the class."""
        # log s(f) = f - softplus(f) and log(1 - s(f)) = -softplus(f).
        everywhere = ops.sum(ops.softplus(y_pred), axis=-1)
        return everywhere - _sum_over_clicks(y_true, y_pred, lambda x, f: x * f)

    def unnormalized_scores(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Log s(f_i(z)), the log-probability of a click."""
        return ops.log_sigmoid(logits), ops.zeros_like(logits[:, 0])


LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "multinomial": MultinomialNLL,
    "gaussian": GaussianNLL,
    "logistic": LogisticNLL,
}


def get_likelihood(identifier: str | Likelihood) -> Likelihood:
    """A likelihood by its name; a likelihood is returned as it is."""
    if isinstance(identifier, Likelihood):
        return identifier
    if identifier not in LIKELIHOODS:
        raise ValueError(
            f"`likelihood` must be one of {', '.join(LIKELIHOODS)} or a likelihood of "
            f"keras_multvae.losses. Received: likelihood={identifier!r}."
        )
    return LIKELIHOODS[identifier]()


def _sum_over_clicks(
    y_true: Tensor, y_pred: Tensor, term: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Sum of term(x_ui, f_ui) over the items that each user clicked: (users,)."""
    sparse = ragged.is_ragged(y_true)
    x = ops.cast(y_true["values"] if sparse else y_true, y_pred.dtype)
    f = ragged.gather_nd(y_true, y_pred) if sparse else y_pred
    terms = ops.where(x > 0, term(x, f), ops.zeros_like(x))
    return ragged.segment_sum(y_true, terms) if sparse else ops.sum(terms, axis=-1)
