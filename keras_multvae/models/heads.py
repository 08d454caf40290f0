"""How a training step scores the items, where it does not score all. No Keras here."""

from __future__ import annotations

from dataclasses import dataclass

from keras_multvae.settings import POSITIVE_INT, Choice, Optional, Settings, setting

SAMPLERS = ("log_uniform", "popularity", "in_batch")
EMBEDDING_DTYPES = ("bfloat16",)


@dataclass(frozen=True)
class SampledSoftmax(Settings):
    """Training scores the clicked items and some sampled ones in place of all.

    With `FusedAdam` (without clipping, decay and the like) a step reads and writes
    those rows of the item embeddings alone. Validation, evaluation and recommendation are
    exact. Takes the multinomial likelihood, and `UserBatches` to train on.

    Args:
        num_sampled: Int >= 1, items drawn for each batch.
        sampler: "log_uniform", "popularity" or "in_batch"; see `CandidateSampler`.
        embedding_dtype: None, or "bfloat16": the item embeddings and their moments in half of
            the memory. Steps are taken in float32 and rounded at random, for which
            training needs a `FusedAdam` as above. All else stays float32.

    Raises:
        ValueError: A value out of its range.

    Example:

    >>> from keras_multvae import MultVAE, SampledSoftmax
    >>> model = MultVAE(num_items=50, head=SampledSoftmax(num_sampled=10))
    >>> model.head.sampler
    'log_uniform'

    References:
        - [Jean et al., 2015](https://arxiv.org/abs/1412.2007)
    """

    num_sampled: int = setting(2000, POSITIVE_INT, "items drawn for a batch")
    sampler: str = setting("log_uniform", Choice(SAMPLERS), "how these are drawn")
    embedding_dtype: str | None = setting(
        None,
        Optional(Choice(EMBEDDING_DTYPES)),
        "item embeddings and their moments in half of the memory",
    )
