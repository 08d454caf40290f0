"""Which models have a forward pass of plain operations. Imports no TensorFlow."""

from __future__ import annotations

from keras_multvae.layers import (
    EmbeddingDecoder,
    InteractionEncoder,
    ItemDecoder,
    PointEncoder,
)
from keras_multvae.models import Autoencoder, RankingModel
from keras_multvae.typing import Model

QUANTIZE = (None, "bfloat16", "int8")


def is_plain(
    model: Model, encoders: tuple[type, ...] = (InteractionEncoder, PointEncoder)
) -> bool:
    """Whether scores come from these encoders, and decoders and methods of ours."""
    cls = type(model)
    return (
        issubclass(cls, Autoencoder)
        and cls.score is RankingModel.score
        and cls.unnormalized_scores is RankingModel.unnormalized_scores
        and cls.logits is RankingModel.logits
        and cls.network_logits is Autoencoder.network_logits
        and cls.encode is Autoencoder.encode
        and type(model.encoder) in encoders
        and type(model.decoder) in (ItemDecoder, EmbeddingDecoder)
    )


def check_quantize(model: Model, quantize: str | None) -> None:
    """Raises `ValueError` if a model cannot be quantized in this way."""
    if quantize not in QUANTIZE:
        raise ValueError(
            '`quantize` must be None, "bfloat16" or "int8". Received: '
            f"quantize={quantize!r}."
        )
    if quantize is not None and not is_plain(model):
        raise ValueError(
            f"quantize={quantize!r} needs the encoder and decoder of this package, "
            f"unchanged; {type(model).__name__} has layers of its own, which are "
            "exported as they are. Leave `quantize` out."
        )
