"""The settings of Mult-DAE. No Keras here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_multvae.settings import (
    LIKELIHOOD,
    NON_NEGATIVE,
    POSITIVE_INT,
    SHARE,
    Settings,
    Sizes,
    setting,
)

if TYPE_CHECKING:
    from keras_multvae.losses import Likelihood


@dataclass(frozen=True)
class MultDAEConfig(Settings):
    """The arguments of `MultDAE` except `num_items` and `seed`; see there.

    Example:

    >>> from keras_multvae import MultDAE
    >>> MultDAE.Config().hidden_dims
    ()
    """

    latent_dim: int = setting(200, POSITIVE_INT, "size of the latent vector")
    hidden_dims: Sequence[int] = setting(
        (), Sizes(), "hidden layers of the encoder; empty for the paper's network"
    )
    dropout: float = setting(0.5, SHARE, "share of clicks dropped from the input")
    likelihood: str | Likelihood = setting("multinomial", LIKELIHOOD, "of clicks")
    l2: float = setting(0.01 / 500, NON_NEGATIVE, "regularisation of the kernels")
