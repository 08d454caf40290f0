"""The settings of RecVAE. No Keras here."""

from __future__ import annotations

from dataclasses import dataclass

from keras_multvae.settings import (
    NON_NEGATIVE,
    POSITIVE_INT,
    SHARE,
    Settings,
    setting,
)


@dataclass(frozen=True)
class RecVAEConfig(Settings):
    """The arguments of `RecVAE` except `num_items` and `seed`; see there.

    Example:

    >>> from keras_multvae import RecVAE
    >>> RecVAE.Config(latent_dim=64).gamma
    0.005
    """

    latent_dim: int = setting(200, POSITIVE_INT, "size of the latent vector")
    width: int = setting(600, POSITIVE_INT, "units of the encoder's five layers")
    dropout: float = setting(
        0.5, SHARE, "share of clicks dropped from the input where the encoder trains"
    )
    gamma: float = setting(0.005, NON_NEGATIVE, "the KL weight of each click")
    encoder_passes: int = setting(
        3, POSITIVE_INT, "epochs that train the encoder, in turn"
    )
    decoder_passes: int = setting(
        1, POSITIVE_INT, "epochs that train the decoder, in turn"
    )
