"""The settings of a sampled softmax. Imports no Keras."""

from __future__ import annotations

from dataclasses import dataclass

from keras_multvae.settings import POSITIVE_INT, Choice, Optional, Settings, setting

SAMPLERS = ("log_uniform", "popularity", "in_batch")
EMBEDDING_DTYPES = ("bfloat16",)


@dataclass(frozen=True)
class SampledSoftmax(Settings):
    """In training, scores the clicked and some sampled items instead of all.

    With `FusedAdam` (without clipping, decay and the like) a step reads and writes
    only the embeddings of those items. Validation, evaluation and recommendation are
    exact. It needs the multinomial likelihood, and `UserBatches` to train on.

    Args:
        num_sampled: Int >= 1, items drawn for each batch.
        sampler: "log_uniform", "popularity" or "in_batch"; see `CandidateSampler`.
        embedding_dtype: None, or "bfloat16", which halves the memory of the item
            embeddings and their moments. Steps are computed in float32 and rounded at
            random, so training needs a `FusedAdam` as above. All else stays float32.

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
        "dtype of the item embeddings and their moments; bfloat16 halves their memory",
        stored="table_dtype",
    )
