"""Training with a `SampledSoftmax`: some rows of the item embeddings a step."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import numpy as np

from keras_multvae import backend, ragged
from keras_multvae.data.batches import UserBatches
from keras_multvae.layers import CandidateSampler
from keras_multvae.losses import SampledLogits
from keras_multvae.models.autoencoder import item_embeddings
from keras_multvae.models.heads import SampledSoftmax
from keras_multvae.models.steps import has_targets
from keras_multvae.models.variational import VariationalModel
from keras_multvae.optimizers import FusedAdam
from keras_multvae.typing import Clicks, Tensor


class SampledTraining(VariationalModel):
    """A `VariationalModel` whose head may be sampled; a subclass makes the layers.

    With a head its encoder is an `InteractionEncoder` and its decoder a `EmbeddingDecoder`.
    """

    head: SampledSoftmax | None
    tied: bool
    # Not None here: PyTorch would find that before the layer.
    candidates: CandidateSampler | None

    @property
    def embedding_dtype(self) -> str | None:
        """The dtype of the item embeddings where it is not that of the policy."""
        return None if self.head is None else self.head.embedding_dtype

    @property
    def item_embeddings(self) -> list[tuple[Any, int]]:
        """See `abilities.HasItemEmbeddings`."""
        return item_embeddings(self.encoder, self.decoder)

    def make_candidates(self) -> None:
        """Makes the layer that draws items, where there is a head."""
        if self.head is None:
            self.candidates = None
            return
        self.candidates = CandidateSampler(
            self.num_items,
            self.head.num_sampled,
            self.head.sampler,
            # Not one of the seeds of the other parts.
            seed=None if self.seed is None else self.seed + (1 << 20),
            dtype="float32",
            name="candidates",
        )

    def network(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """See `VariationalModel`; with a head, `SampledLogits` in training."""
        if not training or self.candidates is None:
            return super().network(inputs, training)
        if not ragged.is_ragged(inputs):
            raise ValueError(
                "A model with a SampledSoftmax is trained on UserBatches. Received: "
                f"{type(inputs).__name__}."
            )
        items = self.candidates(inputs)
        take = partial(backend.embedding_lookup, ids=items.ids, sparse=self.sparse_gradients)
        kernel = take(self.encoder.kernel)
        places = {**inputs, "item_ids": items.clicks}
        mean, log_var = self.encoder(places, training=True, kernel=kernel)
        z = self.sampling((mean, log_var), training=True)
        rows = kernel if self.tied else take(self.decoder.table)
        bias = take(self.decoder.bias)
        logits = self.decoder.sampled(z, inputs, items, rows, bias)
        self.add_kl(mean, log_var, z)
        return logits

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """See `VariationalModel`."""
        if isinstance(y_pred, SampledLogits) and has_targets(y):
            raise ValueError(
                "With a SampledSoftmax a model is trained on the clicks that it reads: "
                "the logits are those of the input. Received targets besides. Leave "
                "them out of fit(), or `head` out of the model."
            )
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Tensor = None
    ) -> dict[str, Any]:
        """See `RankingModel`; without ranking metrics where `y_pred` is sampled."""
        if isinstance(y_pred, SampledLogits):
            y = None
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """See `RankingModel.compile`."""
        super().compile(*args, **kwargs)
        if self.head is None:
            return
        optimizer = self.optimizer
        self.sparse_gradients = isinstance(optimizer, FusedAdam) and optimizer.takes_sparse_gradients
        if not backend.sparse_gradients_compile:
            self.jit_compile = False
        if self.head.embedding_dtype and not self.sparse_gradients:
            raise ValueError(
                f"Tables in {self.head.embedding_dtype} are trained by a FusedAdam without "
                "clipping, weight decay, averaging, gradient accumulation or loss "
                "scaling: it alone rounds at random. Received: "
                f"{optimizer.get_config()}. Leave `optimizer` out, or embedding_dtype."
            )

    @property
    def needs_ragged(self) -> bool:  # type: ignore[override]
        """See `RankingModel`."""
        return self.head is not None

    def prepare_fit(self, x: Clicks) -> None:
        """A sampler learns the items' popularity."""
        if self.candidates is not None and isinstance(x, UserBatches):
            self.candidates.set_popularity(x.item_clicks())

    def with_new_items(self, num_items: int) -> Self:
        """See `RankingModel.with_new_items`."""
        grown = super().with_new_items(num_items)
        if grown.candidates is not None:
            # `fit` will tell.
            grown.candidates.set_popularity(np.zeros(num_items))
        return grown
