"""The settings of Mult-VAE. No Keras here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_multvae.models.heads import SampledSoftmax
from keras_multvae.settings import (
    LIKELIHOOD,
    POSITIVE_INT,
    SHARE,
    Flag,
    OneOf,
    Settings,
    Sizes,
    setting,
)

HEADS = OneOf({"full": None, "sampled": SampledSoftmax})


@dataclass(frozen=True)
class MultVAEConfig(Settings):
    """The arguments of `MultVAE`, described there, but for its items, beta and seed.

    Example:

    >>> from keras_multvae import MultVAE
    >>> MultVAE.Config(latent_dim=64).hidden_dims
    (600,)
    """

    latent_dim: int = setting(200, POSITIVE_INT, "size of the latent vector")
    hidden_dims: Sequence[int] = setting(
        (600,), Sizes(), "hidden layers of the encoder; empty for a linear model"
    )
    dropout: float = setting(0.5, SHARE, "share of clicks dropped from the input")
    likelihood: Any = setting("multinomial", LIKELIHOOD, "of clicks")
    tied: bool = setting(False, Flag(), "one item embedding matrix for encoder and decoder")
    head: SampledSoftmax | None = setting(
        None,
        HEADS,
        "logits of all items in a step, or of some for a large catalogue",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tied and not self.hidden_dims:
            raise ValueError(
                "tied=True takes the first hidden layer's kernel for the output, so "
                "there must be one. Received: hidden_dims=()."
            )
        likelihood = self.likelihood
        name = likelihood if isinstance(likelihood, str) else type(likelihood).__name__
        if self.head is not None and name not in ("multinomial", "MultinomialNLL"):
            raise ValueError(
                "SampledSoftmax estimates the multinomial likelihood. Received: "
                f"likelihood={likelihood!r}. Leave `head` out, or the likelihood."
            )
